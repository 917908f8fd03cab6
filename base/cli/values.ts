import type { Offers, Value } from './command.js'

const LARGEST_PORT = 65_535

/** Any text. */
export function text(name: string, offers?: Offers): Value<string> {
  return { name, wants: 'a text', read: (given) => given, ...(offers === undefined ? {} : { offers }) }
}

/** Path of a file. */
export const FILE: Value<string> = text('FILE', 'files')

export const PORT: Value<number> = {
  name: 'PORT',
  wants: `a port, 1 to ${LARGEST_PORT}`,
  read: (given) => {
    const port = /^\d{1,5}$/.test(given) ? Number(given) : 0
    return port >= 1 && port <= LARGEST_PORT ? port : undefined
  },
}

/** Not negative, and of nine digits at most. */
export function wholeNumber(name: string): Value<number> {
  return {
    name,
    wants: 'a number',
    read: (given) => (/^\d{1,9}$/.test(given) ? Number(given) : undefined),
  }
}

export function oneOf<const Word extends string>(name: string, words: readonly Word[]): Value<Word> {
  return {
    name,
    wants: inWords(words),
    offers: words,
    read: (given) => words.find((word) => word === given),
  }
}

/** `a, b or c`. */
export function inWords(words: readonly string[]): string {
  const [last = '', ...before] = [...words].reverse()
  return before.length === 0 ? last : `${before.reverse().join(', ')} or ${last}`
}
