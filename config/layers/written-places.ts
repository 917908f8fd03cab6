import type { Merged } from './merge.js'

/** Option (`blocklist.domains`), or item of a list (`rules[2]`) → where somebody wrote it, as `file:line:col`. */
export type WrittenPlaces = Readonly<Record<string, readonly string[]>>

/** Of longer lists only the list has a place. */
const MAX_ITEMS = 64
/** It is one line in a file that people read. */
const MAX_LENGTH = 32 * 1024

/** Where the operator and the workspace have written what is in force; nothing of what the default says. */
export function writtenPlaces({ config, sources, originsOf }: Merged): WrittenPlaces {
  const places: Record<string, readonly string[]> = {}
  for (const [option, origins] of Object.entries(sources)) {
    const written = origins.filter(({ layer }) => layer !== 'default')
    if (written.length === 0) continue
    places[option] = written.map(placeOf)
    const [section = '', key = ''] = option.split(/\.(.*)/s, 2)
    // Those that are blocked as well are taken out of the allowlist, so its items may have another number.
    const path = section === 'rules' ? ['rules'] : [section, key]
    const value = section === 'allowlist' ? undefined : valueAt(config, path)
    if (!Array.isArray(value) || value.length > MAX_ITEMS) continue
    for (const index of value.keys()) places[`${option}[${index}]`] = originsOf([...path, index]).map(placeOf)
  }
  return places
}

/** JSON of one line; undefined where it would be too long to be kept. */
export function printPlaces(places: WrittenPlaces): string | undefined {
  const text = JSON.stringify(places)
  return text.length > MAX_LENGTH ? undefined : text
}

/** What {@link printPlaces} has printed; empty for anything else. */
export function readPlaces(text: string): WrittenPlaces {
  try {
    const read = JSON.parse(text) as unknown
    return typeof read === 'object' && read !== null ? (read as WrittenPlaces) : {}
  } catch {
    return {}
  }
}

function placeOf({ file, line, col }: { file: string; line: number; col: number }): string {
  return `${file}:${line}:${col}`
}

function valueAt(config: object, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (value, key) =>
      typeof value === 'object' && value !== null
        ? Object.getOwnPropertyDescriptor(value, key)?.value
        : undefined,
    config,
  )
}
