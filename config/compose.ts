import type { ApartSection, Config } from './model/config.js'
import {
  MAX_CONFIG_BYTES,
  readConfigTexts,
  type ConfigFiles,
  type ConfigTexts,
  type FoundFile,
} from './layers/config-texts.js'
import { cutOffProblem } from './layers/cut-off.js'
import { readLayer, type Layer } from './layers/layer.js'
import { layerOfFile, loadConfigFile, mergeChecked, readBase, type LoadOptions } from './layers/load.js'
import { deepFreeze, mergeLayers, type Merged, type Sources } from './layers/merge.js'
import { dataPaths } from './model/paths.js'
import { firstOf, unreadable, type Problem } from './yaml/problem.js'
import { readOperatorLine, readPlacesLine, renderConfig, type ConfigParts } from './compose/render.js'
import { readTextFile } from '../base/files/text-file.js'
import { workspaceApart } from './workspace/workspace-apart.js'
import { restrictWorkspace } from './workspace/workspace-rules.js'
import { writtenPlaces, type WrittenPlaces } from './layers/written-places.js'

export interface ComposeOptions extends LoadOptions, ConfigFiles {
  readonly dataDir: string
  /** What is in the files, when they have been read before. */
  readonly texts?: ConfigTexts
  /** What the operator's file said when it was last put in force, where that is known. */
  readonly formerOperator?: string | undefined
  /** What an earlier start wrote; `<data>/proxy/config.yaml` unless given. */
  readonly previousFile?: string | undefined
}

export interface Composed {
  /** Frozen. */
  readonly config: Config
  /** Everything wrong with the files, and every key refused; none of it kept a configuration from being made. */
  readonly problems: readonly Problem[]
  /**
   * - `composed`: all usable files together
   * - `previous`: the operator's file is broken; what it last said, in good order, stays
   * - `deny-all`: it is broken and nothing is known of what it meant; nothing may be reached
   */
  readonly inForce: 'composed' | 'previous' | 'deny-all'
  /** In one sentence: why the operator's file cannot be used, and what is in force until it is mended. */
  readonly trouble?: string
  /** What is wrong with the files themselves: `problems` without what follows from it. */
  readonly mistakes: readonly Problem[]
  readonly sources: Sources
  /**
   * The text for `<data>/proxy/config.yaml`, which `loadConfigFile` reads back as `config`. It holds header
   * values as given: write it 0600, and atomically, for it is the next start's `previousFile`.
   */
  readonly yaml: string
  /** What `yaml` is rendered of, besides `config`. */
  readonly parts: ConfigParts
}

/**
 * Makes the configuration in force of the operator's file, the workspace's and the shipped default. There
 * is always one: a broken workspace file is left out, a broken operator's file fails closed.
 *
 * @throws ConfigError only when `defaultText` itself is broken.
 */
export async function composeConfig(options: ComposeOptions): Promise<Composed> {
  const { dataDir, base } = readBase(options)
  const texts = options.texts ?? (await readConfigTexts(options))
  const operatorFile = texts.operator?.file
  const operator =
    texts.operator === undefined
      ? NOTHING_SAID
      : operatorLayer(texts.operator, dataDir, base, options.formerOperator)
  if (operator.kind === 'problems') {
    return failClosed(operator.file, operator.problems, { ...options, dataDir }, base)
  }
  const layers = operator.layer === undefined ? [base] : [operator.layer, base]
  const inForce = mergeLayers(layers)
  const alone = finished(inForce, [], { operatorFile })
  if (operatorFile !== undefined && isTooLarge(alone.yaml)) {
    return failClosed(operatorFile, [tooLarge(operatorFile)], { ...options, dataDir }, base)
  }
  const workspaceFile = texts.workspace?.file
  const workspace =
    texts.workspace === undefined ? undefined : layerOfFile('workspace', texts.workspace, dataDir)
  if (workspaceFile === undefined || workspace === undefined) return alone
  if (workspace.kind === 'problems') return rendered(withMistakes(alone, workspace.problems))
  const limits = { operator: operator.layer, inForce }
  const { narrowing, tuning, problems } = restrictWorkspace(workspace.layer, limits)
  // What it says may be right in itself and contradict the operator's: the text written must load again.
  const checked = mergeChecked([...narrowing, ...layers.slice(0, -1), tuning, base])
  if (checked.kind === 'problems') return rendered(withMistakes(alone, checked.problems))
  const { merged } = checked
  const apart = workspaceApart(inForce.config, merged.config)
  const together = finished({ ...merged, config: withApart(merged.config, apart) }, problems, {
    operatorFile,
    workspaceFile,
  })
  return isTooLarge(together.yaml) ? rendered(withMistakes(alone, [tooLarge(workspaceFile)])) : together
}

function finished(merged: Merged, problems: readonly Problem[], parts: ConfigParts): Composed {
  const config = withoutBlocked(merged.config)
  const places = writtenPlaces(merged)
  return rendered({
    config,
    problems,
    inForce: 'composed',
    sources: merged.sources,
    parts: { ...parts, places },
  })
}

function withMistakes(composed: Composed, problems: readonly Problem[]): Composed {
  return { ...composed, problems, mistakes: problems }
}

/** The text is made when it is asked for: that of the last start often is the same. */
function rendered(
  composed: Omit<Composed, 'yaml' | 'mistakes'> & { mistakes?: readonly Problem[] },
): Composed {
  let yaml: string | undefined
  return {
    ...composed,
    mistakes: composed.mistakes ?? composed.problems,
    get yaml() {
      return (yaml ??= renderConfig(composed.config, composed.parts))
    },
  }
}

/** Short lists in brackets take more room in the text written, which must load again. */
function isTooLarge(yaml: string): boolean {
  return Buffer.byteLength(yaml) > MAX_CONFIG_BYTES
}

function tooLarge(file: string): Problem {
  const message = `with it, the configuration in force would be larger than ${MAX_CONFIG_BYTES} bytes`
  return { kind: 'invalid', file, message }
}

const NOTHING_SAID = { kind: 'layer', layer: undefined } as const

function operatorLayer(said: FoundFile, dataDir: string, base: Layer, former: string | undefined) {
  const { file } = said
  const result = layerOfFile('operator', said, dataDir)
  if (result === undefined)
    return { kind: 'problems', file, problems: [unreadable(file, 'it does not exist')] } as const
  if (result.kind === 'problems') return { ...result, file }
  const merged = mergeChecked([result.layer, base])
  if (merged.kind === 'problems') return { ...merged, file }
  const { found } = said
  if (former === undefined || found.kind !== 'text' || !former.startsWith(found.text)) return result
  const before = readLayer({ name: 'operator', file, text: former, dataDir })
  if (before.kind === 'problems') return result
  const { config } = mergeLayers([before.layer, base])
  const next = { text: found.text, config: merged.merged.config }
  const cutOff = cutOffProblem(file, next, { text: former, config })
  return cutOff === undefined ? result : ({ kind: 'problems', file, problems: [cutOff] } as const)
}

async function failClosed(
  operatorFile: string,
  problems: readonly Problem[],
  options: ComposeOptions,
  base: Layer,
): Promise<Composed> {
  const previousFile = options.previousFile ?? dataPaths(options.dataDir).proxyConfig
  const previous = await readPrevious(previousFile, operatorFile, options)
  const merged = previous?.merged ?? mergeLayers([DENY_ALL, base])
  const inForce = previous === undefined ? 'deny-all' : 'previous'
  const verdict = verdictOf(inForce, previousFile)
  const note: Problem = {
    kind: 'unreadable',
    file: operatorFile,
    message: `${verdict}; the workspace's file is left out`,
  }
  const trouble = `${firstOf(problems)}; ${verdict}`
  return rendered({
    config: merged.config,
    problems: [...problems, note],
    mistakes: problems,
    trouble,
    inForce,
    sources: merged.sources,
    // Only what came from the operator's file may pass for its last good state at the next start.
    parts: {
      operatorFile: previous === undefined ? undefined : operatorFile,
      places: previous?.places,
      trouble,
    },
  })
}

/** The consequence of an operator's file that cannot be used, in the words that everybody is told. */
export function verdictOf(inForce: 'previous' | 'deny-all', previousFile: string): string {
  return inForce === 'deny-all'
    ? 'nothing may be reached until this file is mended, since what it allows is not known'
    : `the last good configuration stays in force (${previousFile}), until this file is mended`
}

const DENY_ALL: Layer = {
  values: { allowlist: { enabled: true, domains: [], ips: [] } },
  originsOf: () => [],
}

/** The configuration of an earlier start, provided that this same operator's file had a part in it. */
async function readPrevious(
  previousFile: string,
  operatorFile: string,
  options: ComposeOptions,
): Promise<{ readonly merged: Merged; readonly places: WrittenPlaces } | undefined> {
  const read = await readTextFile(previousFile, { maxBytes: MAX_CONFIG_BYTES })
  if (read.kind !== 'text' || readOperatorLine(read.text) !== operatorFile) return undefined
  const merged = await loadConfigFile(previousFile, options).catch(() => undefined)
  return merged && { merged, places: readPlacesLine(read.text) }
}

function withApart(config: Config, apart: ApartSection): Config {
  return Object.freeze({ ...config, cache: Object.freeze({ ...config.cache, apart: deepFreeze(apart) }) })
}

/**
 * The blocklist comes first, so what is on both lists changes nothing; but in one file it would be a
 * contradiction, and the text written must load again.
 */
function withoutBlocked(config: Config): Config {
  const { allowlist, blocklist } = config
  const without = (key: 'domains' | 'ips'): readonly string[] => {
    const blocked = new Set(blocklist[key])
    return Object.freeze(allowlist[key].filter((entry) => !blocked.has(entry)))
  }
  const allowed = { enabled: allowlist.enabled, domains: without('domains'), ips: without('ips') }
  return Object.freeze({ ...config, allowlist: Object.freeze(allowed) })
}
