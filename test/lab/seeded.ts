import { randomInt } from 'node:crypto'

/** Choices that come out the same for the same seed. */
export interface Seeded {
  /** A whole number, at least `from` and less than `to`. */
  between(from: number, to: number): number
  /** One of a list that has at least one. */
  oneOf<T>(list: readonly [T, ...T[]]): T
  bytes(length: number): Buffer
}

/** A seed given in the environment as `name`, or one of its own. */
export function seedFrom(name: string): number {
  const given = process.env[name]
  return given === undefined ? randomInt(2 ** 32) : Number(given)
}

/** mulberry32, by Tommy Ettinger: 32 bits of state are plenty for choices. */
export function seeded(seed: number): Seeded {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return (mixed ^ (mixed >>> 14)) >>> 0
  }
  const between = (from: number, to: number): number => from + (next() % (to - from))
  return {
    between,
    oneOf: (list) => list[between(0, list.length)] ?? list[0],
    bytes(length) {
      const bytes = Buffer.alloc(length)
      for (let at = 0; at < length; at += 1) bytes[at] = next()
      return bytes
    },
  }
}
