import { createHash } from 'node:crypto'
import type { Config } from '../model/config.js'
import { readDefaultDocument } from '../layers/default-document.js'
import type { Origin } from '../layers/layer.js'
import { deepFreeze, type Merged, type Sources } from '../layers/merge.js'
import { documentOf, type ParsedYaml } from '../yaml/parsed-yaml.js'
import { optionOf, placeIn } from '../layers/places.js'
import { readTextFile } from '../../base/files/text-file.js'

/** To be raised with every change of what is written here. */
const FORMAT = 3
/** Of a longer one, the places of all values take many times as much room as the text. */
const MAX_TEXT_LENGTH = 64 * 1024
const MAX_BYTES = 1024 * 1024

/**
 * What the last start made of a configuration, in a file beside it, so that the next one need not: the agent does not
 * compose it again of the same files, and the proxy neither parses nor checks its text. Each would take 20 ms. Both
 * look at the text itself, and believe nothing that other code has written: a file that somebody has changed is
 * composed, and read, as if there were nothing beside it.
 */
interface KnownConfig extends Circumstances {
  /** Digest of what the text was composed of. */
  readonly madeOf: string
  /** Digest of the text. */
  readonly text: string
  /** What it says, over the default. */
  readonly config: Config
  readonly sources: Sources
  /** Its values, with their places. */
  readonly parsed: ParsedYaml
}

/** What else has a say in what a text says. */
export interface Circumstances {
  /** Of the code that reads it: `RELEASE`. */
  readonly release: string
  /** That the text is in. Absolute. */
  readonly file: string
  /** Absolute. */
  readonly dataDir: string
}

/**
 * The content of the file beside a composed text; undefined for one that is too long for it. It holds header values
 * as given: write it so that only the proxy can read it. @throws ConfigError when the text is no configuration.
 */
export async function describeConfig(
  text: string,
  madeOf: string,
  { release, file, dataDir }: Circumstances,
): Promise<string | undefined> {
  if (text.length > MAX_TEXT_LENGTH) return undefined
  const [{ loadConfigText }, { parseYaml }] = await Promise.all([
    import('../layers/load.js'),
    import('../yaml/yaml-document.js'),
  ])
  const parsed = parseYaml(text)
  const { config, sources } = loadConfigText(text, file, { dataDir, document: documentOf(parsed) })
  const known: KnownConfig = { release, file, dataDir, madeOf, text: digestOf(text), config, sources, parsed }
  return `${JSON.stringify({ format: FORMAT, ...known })}\n`
}

/**
 * What a file says of a configuration, for {@link knownOf}; undefined where there is none, or one that neither root nor
 * our own account has written: who else could write it would decide where traffic may go.
 */
export async function readDescription(path: string): Promise<string | undefined> {
  const ownedBy = [0, process.geteuid?.() ?? 0]
  const read = await readTextFile(path, { maxBytes: MAX_BYTES, ownedBy })
  return read.kind === 'text' ? read.text : undefined
}

/** What `description` says, unless it is of another text, or was written in other circumstances. */
export function knownOf(
  text: string | undefined,
  description: string | undefined,
  { release, file, dataDir }: Circumstances,
): KnownConfig | undefined {
  if (text === undefined || description === undefined) return undefined
  try {
    const known = JSON.parse(description) as KnownConfig & { readonly format: unknown }
    if (known.format !== FORMAT || known.release !== release) return undefined
    if (known.file !== file || known.dataDir !== dataDir) return undefined
    return known.text === digestOf(text) ? known : undefined
  } catch {
    return undefined
  }
}

/** As `loadConfigText` has it. */
export function mergedOf({ config, sources, parsed }: KnownConfig): Merged {
  const document = documentOf(parsed)
  return {
    config: deepFreeze(config),
    sources: deepFreeze(sources),
    originsOf(path) {
      const origin: Origin | undefined = sources[optionOf(path)]?.[0]
      if (origin === undefined) return []
      const { layer, file } = origin
      return [{ layer, file, ...placeIn(layer === 'default' ? readDefaultDocument() : document, path) }]
    },
  }
}

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
