import { resolve } from 'node:path'
import { findConflicts } from './conflicts.js'
import { readDefaultDocument } from './default-document.js'
import { readLayer, type Layer, type LayerName, type LayerResult } from './layer.js'
import { mergeLayers, type Merged } from './merge.js'
import { DEFAULT_DATA_DIR } from './paths.js'
import { ConfigError, type Problem } from './problem.js'
import type { YamlDocument } from './parsed-yaml.js'
import { readTextFile, type TextFileLimits } from './text-file.js'

/** A blocklist of some 40,000 hosts. Parsing that takes about a second. */
export const MAX_CONFIG_BYTES = 1024 * 1024

/** The name origins and messages give to the shipped default. */
const DEFAULT_FILE = 'default.yaml'

export interface LoadOptions {
  /** Where the default's folders are, instead of `/.data`. */
  readonly dataDir?: string
  /** Instead of the shipped `default.yaml`. */
  readonly defaultText?: string
  /** The text of the file, when it has been read before. */
  readonly document?: YamlDocument
  /** What {@link readBase} made of the rest of these options before. */
  readonly base?: Base
}

/** The layer that says something for every key, and the absolute data directory it was placed in. */
export interface Base {
  readonly dataDir: string
  readonly base: Layer
}

/**
 * The configuration that one file and the shipped default make, as the proxy's `-config FILE` asks for it.
 *
 * @throws ConfigError with all that is wrong with the file, or when it is absent or unreadable.
 */
export async function loadConfigFile(path: string, options: LoadOptions = {}): Promise<Merged> {
  return loadConfigText(await readConfigText(path), path, options)
}

/** The text of a configuration file. @throws ConfigError when it is absent or unreadable. */
export async function readConfigText(path: string): Promise<string> {
  const file = resolve(path)
  const read = await readTextFile(file, { maxBytes: MAX_CONFIG_BYTES })
  if (read.kind === 'text') return read.text
  const reason = read.kind === 'absent' ? 'it does not exist' : read.reason
  throw new ConfigError(file, [unreadable(file, reason)])
}

/**
 * As {@link loadConfigFile}, of a text that is, or might be, in the file of that path.
 *
 * @throws ConfigError with all that is wrong with it.
 */
export function loadConfigText(text: string, path: string, options: LoadOptions = {}): Merged {
  const file = resolve(path)
  const { dataDir, base } = options.base ?? readBase(options)
  const said = options.document === undefined ? { text } : { document: options.document }
  const result = readLayer({ name: 'operator', file, dataDir, ...said })
  const merged = result.kind === 'layer' ? mergeChecked([result.layer, base]) : result
  if (merged.kind === 'problems') throw new ConfigError(file, merged.problems)
  return merged.merged
}

/**
 * The shipped default alone.
 *
 * @throws ConfigError when `defaultText` is not a valid configuration.
 */
export function loadDefaultConfig(options: LoadOptions = {}): Merged {
  return mergeLayers([readBase(options).base])
}

/** @throws ConfigError when `defaultText` is not a valid configuration. */
export function readBase(options: LoadOptions): Base {
  const dataDir = resolve(options.dataDir ?? DEFAULT_DATA_DIR)
  const said =
    options.defaultText === undefined ? { document: readDefaultDocument() } : { text: options.defaultText }
  const result = readLayer({ name: 'default', file: DEFAULT_FILE, dataDir, ...said })
  if (result.kind === 'problems') throw new ConfigError(DEFAULT_FILE, result.problems)
  return { dataDir, base: result.layer }
}

/** What a file says; `undefined` when there is none. */
export async function readFileLayer(
  name: LayerName,
  file: string,
  dataDir: string,
  limits: TextFileLimits,
): Promise<LayerResult | undefined> {
  const read = await readTextFile(file, limits)
  if (read.kind === 'absent') return undefined
  if (read.kind === 'unreadable') return { kind: 'problems', problems: [unreadable(file, read.reason)] }
  return readLayer({ name, file, text: read.text, dataDir })
}

/** Layers put together, unless together they contradict each other. */
export function mergeChecked(
  layers: readonly Layer[],
):
  | { readonly kind: 'merged'; readonly merged: Merged }
  | { readonly kind: 'problems'; readonly problems: readonly Problem[] } {
  const merged = mergeLayers(layers)
  const problems = findConflicts(merged.config, (option) => merged.sources[option]?.[0])
  return problems.length === 0 ? { kind: 'merged', merged } : { kind: 'problems', problems }
}

export function unreadable(file: string, reason: string): Problem {
  return { kind: 'unreadable', file, message: `cannot read it: ${reason}` }
}
