import { readFileSync } from 'node:fs'

/** The listeners, the log, the cache's lock and index, and what Node has for itself. */
const OWN_FILES = 64
/** The client's, upstream's, and that of a cached body. */
const FILES_PER_CONNECTION = 3

/** How many connections fit into the files this process may open; Node has raised that as far as it can. */
export function connectionCeiling(): number {
  const limit = /^Max open files +(\d+)/m.exec(limitsText())?.[1]
  if (limit === undefined) return Infinity
  return Math.max(1, Math.floor((Number(limit) - OWN_FILES) / FILES_PER_CONNECTION))
}

/** Empty where there is no Linux to ask. */
function limitsText(): string {
  try {
    return readFileSync('/proc/self/limits', 'utf8')
  } catch {
    return ''
  }
}
