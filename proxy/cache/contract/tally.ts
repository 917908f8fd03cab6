/** What a rule has brought since the start. */
export interface RuleFigures {
  readonly hits: number
  readonly misses: number
  /** Of bodies, to clients. */
  readonly bytes_served: number
  /** Of bodies, from upstream. */
  readonly bytes_fetched: number
}

type Counted = { -readonly [Key in keyof RuleFigures]: number }

/** Counts requests and bytes, in all and for each rule. */
export class Tally {
  readonly #rules = new Map<string, Counted>()
  #hits = 0
  #misses = 0

  get hits(): number {
    return this.#hits
  }

  get misses(): number {
    return this.#misses
  }

  hit(rule: string): void {
    this.#hits += 1
    this.#of(rule).hits += 1
  }

  miss(rule: string): void {
    this.#misses += 1
    this.#of(rule).misses += 1
  }

  served(rule: string, bytes: number): void {
    this.#of(rule).bytes_served += bytes
  }

  fetched(rule: string, bytes: number): void {
    this.#of(rule).bytes_fetched += bytes
  }

  /** Those to which something has happened. */
  get rules(): string[] {
    return [...this.#rules.keys()]
  }

  /** Of a rule that nothing has happened to as well. */
  figures(rule: string): RuleFigures {
    return this.#rules.get(rule) ?? { hits: 0, misses: 0, bytes_served: 0, bytes_fetched: 0 }
  }

  #of(rule: string): Counted {
    const present = this.#rules.get(rule)
    if (present !== undefined) return present
    const fresh = { hits: 0, misses: 0, bytes_served: 0, bytes_fetched: 0 }
    this.#rules.set(rule, fresh)
    return fresh
  }
}
