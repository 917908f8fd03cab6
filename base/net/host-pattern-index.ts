import { parseHostPattern } from './host-pattern.js'

// How patterns stand to each other, asked of many at once. A stranger's file may have ten thousand, and an operator's
// as many again: comparing each with each would hold up process 1 for minutes.

/**
 * Compiles what finds out whether one of `outers` matches every host that a pattern does. A lookup costs one set
 * access for each label. What is no pattern covers nothing and is covered by nothing.
 */
export function compilePatternCover(outers: Iterable<string>): (inner: string) => boolean {
  const rests = { exact: new Set<string>(), below: new Set<string>(), 'then-one': new Set<string>() }
  let any = false
  for (const outer of outers) {
    const pattern = parseHostPattern(outer)
    if (typeof pattern === 'string') continue
    if (pattern.kind === 'any') any = true
    else rests[pattern.kind].add(pattern.rest)
  }
  return (inner) => {
    const pattern = parseHostPattern(inner)
    if (typeof pattern === 'string') return false
    if (any) return true
    if (pattern.kind === 'any') return false
    const { kind, rest } = pattern
    if (rests[kind].has(rest)) return true
    if (kind === 'then-one') return false
    if (kind === 'exact' && rests['then-one'].has(withoutLastLabel(rest))) return true
    return first(suffixesOf(rest), (suffix) => rests.below.has(suffix) || undefined) ?? false
  }
}

/**
 * Compiles what finds one of `patterns` that a rival is the same as, or would take a host from: one that both match and
 * for which the rival would be chosen, by the order of `compileHostPatterns`. In that order an exact name wins, then the
 * longest, then `*.rest` before `rest.*`. A lookup costs one map access for each label.
 */
export function compileOverruled(patterns: Iterable<string>): (rival: string) => string | undefined {
  const index = new OverruledIndex()
  for (const text of patterns) index.add(text)
  return (rival) => index.find(rival)
}

interface Candidate {
  readonly text: string
  readonly length: number
}

class OverruledIndex {
  readonly #exact = new Map<string, string>()
  readonly #below = new Map<string, string>()
  readonly #thenOne = new Map<string, string>()
  #any: string | undefined
  /** By each end that `rest.*` have, and by none, the shortest of them: it gives way to most rivals. */
  readonly #thenOneByEnd = new Map<string, Candidate>()
  /** `*.b.com` by `b`: it meets `a.b.*` in `a.b.com`, where the free label takes its last one. The shortest of each. */
  readonly #belowByFixed = new Map<string, Candidate>()

  add(text: string): void {
    const pattern = parseHostPattern(text)
    if (typeof pattern === 'string') return
    if (pattern.kind === 'any') {
      this.#any = text
      return
    }
    const { kind, rest } = pattern
    const candidate = { text, length: rest.length }
    switch (kind) {
      case 'exact':
        this.#exact.set(rest, text)
        return
      case 'below':
        this.#below.set(rest, text)
        keepShorter(this.#belowByFixed, withoutLastLabel(rest), candidate)
        return
      case 'then-one':
        this.#thenOne.set(rest, text)
        keepShorter(this.#thenOneByEnd, '', candidate)
        for (const end of suffixesOf(rest)) keepShorter(this.#thenOneByEnd, end, candidate)
    }
  }

  find(text: string): string | undefined {
    const rival = parseHostPattern(text)
    if (typeof rival === 'string') return undefined
    if (rival.kind === 'any') return this.#any
    const { rest } = rival
    switch (rival.kind) {
      case 'exact':
        return (
          this.#exact.get(rest) ??
          this.#any ??
          this.#thenOne.get(withoutLastLabel(rest)) ??
          first(suffixesOf(rest), (suffix) => this.#below.get(suffix))
        )
      case 'below':
        return (
          this.#below.get(rest) ??
          this.#any ??
          first(suffixesOf(rest), (suffix) => this.#below.get(suffix)) ??
          // Of two that are as long as each other, `*.x` wins.
          atMost(rest.length, this.#thenOneByEnd.get(withoutLastLabel(rest)))
        )
      case 'then-one':
        return (
          this.#thenOne.get(rest) ??
          this.#any ??
          atMost(rest.length - 1, this.#belowByFixed.get('')) ??
          first(suffixesOf(rest), (end) => atMost(rest.length - 1, this.#belowByFixed.get(end)))
        )
    }
  }
}

function withoutLastLabel(name: string): string {
  return name.slice(0, Math.max(0, name.lastIndexOf('.')))
}

function keepShorter(candidates: Map<string, Candidate>, key: string, candidate: Candidate): void {
  const known = candidates.get(key)
  if (known === undefined || candidate.length < known.length) candidates.set(key, candidate)
}

function atMost(length: number, candidate: Candidate | undefined): string | undefined {
  return candidate !== undefined && candidate.length <= length ? candidate.text : undefined
}

/** What is behind each dot, the longest first; not the name itself. */
function* suffixesOf(name: string): Generator<string> {
  for (let dot = name.indexOf('.'); dot !== -1; dot = name.indexOf('.', dot + 1)) yield name.slice(dot + 1)
}

function first<Item, T>(items: Iterable<Item>, find: (item: Item) => T | undefined): T | undefined {
  for (const item of items) {
    const found = find(item)
    if (found !== undefined) return found
  }
  return undefined
}
