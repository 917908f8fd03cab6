import { MAX_CONFIG_BYTES } from '../../config/layers/config-texts.js'
import type { Merged } from '../../config/layers/merge.js'
import { ConfigError, type Problem } from '../../config/yaml/problem.js'
import { REDACTED } from '../../config/compose/redact.js'
import { canonicalPattern } from '../../config/schema/values.js'
import { quoteOption, readYaml, type KeyPath } from '../../config/yaml/yaml-document.js'
import { isObject, mergePatch } from './merge-patch.js'
import { FILE_ONLY_KEYS, keysOnlyForFile } from './restart-keys.js'

/** What was sent to the API. */
export type ChangeBody =
  { readonly format: 'json'; readonly value: unknown } | { readonly format: 'yaml'; readonly text: string }

/** What a configuration is to say: as a text to load, and as plain values. */
export interface Requested {
  readonly text: string
  readonly value: unknown
}

/** In place of a file's path. */
const BODY = 'request body'

/** Deeper than any configuration, and far from where recursion ends. */
const MAX_DEPTH = 16

/**
 * What the configuration is to say after a change.
 *
 * @param load @throws ConfigError
 * @throws ConfigError when the body is wrong, or changes what only the file may change.
 */
export function requestedText(
  kind: 'replace' | 'merge',
  body: ChangeBody,
  former: { readonly text: string; readonly desired: Merged },
  load: (text: string) => Merged,
): Requested {
  const base = readYaml(former.text).value
  const said = body.format === 'json' ? body.value : readYaml(body.text).value
  if (!isObject(said) || (body.format === 'yaml' && body.text.trim() === '')) {
    // Nothing would mean the default: no lists, no rules.
    refuse('it is not a mapping of keys to values; for the default, write {}')
  }
  refuseMasks(said)
  // First as it was sent, so that lines and columns are those of the sender.
  if (kind === 'replace') load(body.format === 'yaml' ? body.text : textOf(said))
  const value =
    kind === 'replace' ? withFileOnlyKeys(said, base) : mergePatch(base, withKnownSpelling(said, base))
  const text = textOf(value)
  if (Buffer.byteLength(text) > MAX_CONFIG_BYTES) {
    refuse(`with it, the configuration would be larger than ${MAX_CONFIG_BYTES} bytes`)
  }
  const changed = keysOnlyForFile(former.desired.config, load(text).config)
  if (changed.length > 0) {
    refuse(
      ...changed.map((key) => {
        const reason =
          key === 'secrets'
            ? 'only the file may change it; send what it says there'
            : key === 'proxy.auth' || key.startsWith('upstream_proxy.')
              ? 'only the file may change it'
              : 'it cannot be changed while the proxy runs; write it to the file, and restart the proxy'
        return `option ${quoteOption(key.split('.'))}: ${reason}`
      }),
    )
  }
  return { text, value }
}

/** JSON is YAML; one key a line, as the limits on a line are meant for people. With the end that `end_marker` asks for. */
function textOf(value: unknown): string {
  return `${JSON.stringify(value, null, 1)}\n...\n`
}

/** The keys only the file may change stay as they are when they are left out. */
function withFileOnlyKeys(value: unknown, base: unknown): unknown {
  let result = value
  for (const name of FILE_ONLY_KEYS) {
    const [section = '', key = ''] = name.split('.')
    const kept = at(at(base, section), key)
    if (kept !== undefined && at(at(result, section), key) === undefined) {
      result = mergePatch(result, { [section]: { [key]: kept } })
    }
  }
  return result
}

/** A patch speaks of host patterns as `GET` shows them; the file may spell them otherwise. */
function withKnownSpelling(patch: unknown, base: unknown): unknown {
  const known = at(base, 'headers')
  const rules = at(patch, 'headers')
  if (!isObject(patch) || !isObject(known) || !isObject(rules)) return patch
  const written = new Map(Object.keys(known).map((pattern) => [canonicalPattern(pattern), pattern]))
  const renamed = Object.entries(rules).map(([pattern, rule]) => [
    Object.hasOwn(known, pattern) ? pattern : (written.get(canonicalPattern(pattern)) ?? pattern),
    rule,
  ])
  return { ...patch, headers: Object.fromEntries(renamed) as unknown }
}

/** What was read from `GET` and sent back would replace every secret by its mask. */
function refuseMasks(said: unknown): void {
  const masks: KeyPath[] = []
  const visit = (value: unknown, path: KeyPath): void => {
    if (path.length > MAX_DEPTH) refuse('it is nested too deeply')
    if (typeof value === 'string' && value.includes(REDACTED)) masks.push(path)
    else if (Array.isArray(value)) value.forEach((part, index) => visit(part, [...path, index]))
    else if (isObject(value)) for (const [key, part] of Object.entries(value)) visit(part, [...path, key])
  }
  visit(said, [])
  const reason =
    'that is what GET shows in place of the value; send the value itself, or PATCH only what changes'
  if (masks.length > 0) refuse(...masks.map((path) => `option ${quoteOption(path)}: ${reason}`))
}

function refuse(...messages: readonly string[]): never {
  throw new ConfigError(
    BODY,
    messages.map((message): Problem => ({ kind: 'refused', file: BODY, message })),
  )
}

function at(value: unknown, key: string): unknown {
  return isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined
}
