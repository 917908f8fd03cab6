import { createHash, type Hash } from 'node:crypto'
import type { ContentDigest } from '../entry/content-digest.js'
import { LOOKED_AT_BYTES } from '../rules/expectation.js'

/** What became of a body: the digest of one that is whole and right, or what is wrong with it. */
type Verdict = { readonly digest: string } | { readonly complaint: string }

/** Checks a body as it passes: its length against `Content-Length`, its bytes against the URL's digest. */
export class BodyProof {
  /** From `Content-Length`, in bytes. */
  readonly total: number | undefined
  readonly #expected: ContentDigest | undefined
  readonly #algorithm: string
  readonly #hash: Hash
  readonly #start: Buffer[] = []
  #length = 0

  constructor(expected: ContentDigest | undefined, total: number | undefined) {
    this.total = total
    this.#expected = expected
    // Entries whose URL promises nothing are held to what came the first time.
    this.#algorithm = expected?.algorithm ?? 'sha256'
    this.#hash = createHash(this.#algorithm)
  }

  /** Takes the next bytes; a complaint is final. */
  add(chunk: Buffer): string | undefined {
    this.#hash.update(chunk)
    if (this.#length < LOOKED_AT_BYTES) this.#start.push(chunk.subarray(0, LOOKED_AT_BYTES - this.#length))
    this.#length += chunk.length
    return this.#length > (this.total ?? Infinity) ? 'upstream sent more than it announced' : undefined
  }

  /** Its first bytes, as far as they have come. */
  get start(): Buffer {
    return Buffer.concat(this.#start)
  }

  /** To be called once, when all has come. */
  verdict(): Verdict {
    if (this.total !== undefined && this.#length !== this.total) {
      return { complaint: `upstream sent ${this.#length} of ${this.total} bytes` }
    }
    const hex = this.#hash.digest('hex')
    if (this.#expected !== undefined && hex !== this.#expected.hex) {
      return { complaint: `upstream sent ${this.#algorithm}:${hex} instead` }
    }
    return { digest: `${this.#algorithm}:${hex}` }
  }
}
