import type { ClientResponse } from '../../message/message.js'

/**
 * The one who asked, until answered or gone. Owns the listeners put on the response, so that a connection kept
 * alive for a thousand requests carries none of them on.
 */
export class Client {
  readonly response: ClientResponse
  readonly #onClose = (): void => this.lost()
  readonly #onError = (): void => this.lost()
  readonly #waiting = new Set<() => void>()
  #gone = false

  constructor(response: ClientResponse) {
    this.response = response
    response.on('close', this.#onClose)
    // Writing to a response whose socket is being torn down is an error event, not only a failed callback.
    response.on('error', this.#onError)
  }

  /** Nothing that is written will reach anybody. */
  get gone(): boolean {
    return this.#gone || this.response.destroyed
  }

  /** Calls `then` once when the client leaves; the result takes that back. */
  onGone(then: () => void): () => void {
    if (this.gone) then()
    else this.#waiting.add(then)
    return () => this.#waiting.delete(then)
  }

  /** Resolves like `promise`, or with undefined as soon as the client has left. */
  async unlessGone<T>(promise: Promise<T>): Promise<T | undefined> {
    let forget: () => void = () => undefined
    const left = new Promise<undefined>((resolve) => {
      forget = this.onGone(() => resolve(undefined))
    })
    try {
      return await Promise.race([promise, left])
    } finally {
      forget()
    }
  }

  release(): void {
    this.response.off('close', this.#onClose)
    this.response.off('error', this.#onError)
    this.#waiting.clear()
  }

  /** A write failed: nothing may follow it even if the response lives on for a moment. */
  lost(): void {
    this.#gone = true
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const then of waiting) then()
  }
}
