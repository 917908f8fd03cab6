import { createHash } from 'node:crypto'
import type { Config } from './config.js'
import { documentOf, type ParsedYaml, type YamlDocument } from './parsed-yaml.js'
import type { ConfigParts } from './render.js'
import { readTextFile } from './text-file.js'
import { parseYaml } from './yaml-document.js'

/** To be raised with every change of how a configuration is rendered, or of what is written here. */
const FORMAT = 1
/** Of a longer one, the places of all values take many times as much room as the text. */
const MAX_TEXT_LENGTH = 64 * 1024
const MAX_BYTES = 1024 * 1024

/**
 * What is known of a rendered configuration, in a file beside it: of what it was made, so that the agent need not
 * render the same again, and what it says, so that the proxy need not parse it. Each takes 20 ms, most of it for
 * bringing in the package. Both look at the text itself: a file that somebody has changed is rendered, or parsed.
 */
export interface ParsedConfig {
  /** Digest of the text. */
  readonly text: string
  /** Digest of what it was made of. */
  readonly madeOf: string
  readonly parsed: ParsedYaml
}

/** A digest of all that goes into a rendered configuration. */
export function digestOfParts(config: Config, { operatorFile, workspaceFile }: ConfigParts): string {
  return digestOf(JSON.stringify([FORMAT, config, operatorFile ?? null, workspaceFile ?? null]))
}

/**
 * The content of the file beside a rendered text; undefined for one that is too long for it. It holds header values
 * as given: write it so that only the proxy can read it.
 */
export function describeConfig(text: string, madeOf: string): string | undefined {
  if (text.length > MAX_TEXT_LENGTH) return undefined
  const known: ParsedConfig = { text: digestOf(text), madeOf, parsed: parseYaml(text) }
  return `${JSON.stringify({ format: FORMAT, ...known })}\n`
}

/** The text of a file of ours, or undefined where there is none that can be read. */
export async function readParsedConfig(path: string): Promise<string | undefined> {
  const read = await readTextFile(path, { maxBytes: MAX_BYTES })
  return read.kind === 'text' ? read.text : undefined
}

/** What `description` says, unless it is of another text or of another version of ours. */
export function knownOf(text: string | undefined, description: string | undefined): ParsedConfig | undefined {
  if (text === undefined || description === undefined) return undefined
  try {
    const known = JSON.parse(description) as ParsedConfig & { readonly format: unknown }
    return known.format === FORMAT && known.text === digestOf(text) ? known : undefined
  } catch {
    return undefined
  }
}

/** The text as a document, if its description tells what it says. */
export function knownDocument(text: string, description: string | undefined): YamlDocument | undefined {
  const known = knownOf(text, description)
  return known === undefined ? undefined : documentOf(known.parsed)
}

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
