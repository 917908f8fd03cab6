import { resolve } from 'node:path'
import { readConfigText, type FoundFile } from './config-texts.js'
import { findConflicts } from './conflicts.js'
import { readDefaultDocument } from './default-document.js'
import { readLayer, type Layer, type LayerName, type LayerResult } from './layer.js'
import { mergeLayers, type Merged } from './merge.js'
import { DEFAULT_DATA_DIR } from '../model/paths.js'
import { ConfigError, unreadable, type Problem } from '../yaml/problem.js'
import type { YamlDocument } from '../yaml/parsed-yaml.js'

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
export function layerOfFile(
  name: LayerName,
  { file, found }: FoundFile,
  dataDir: string,
): LayerResult | undefined {
  if (found.kind === 'absent') return undefined
  if (found.kind === 'unreadable') return { kind: 'problems', problems: [unreadable(file, found.reason)] }
  return readLayer({ name, file, text: found.text, dataDir })
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
