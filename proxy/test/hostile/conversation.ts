import type { Socket } from 'node:net'

/** One HTTP/1.1 answer as it stood on the wire. */
export interface Answer {
  readonly status: number
  /** Status line and fields, each ended by CRLF. */
  readonly head: string
  readonly body: string
  /** 1xx answers that came before it. */
  readonly informational: readonly number[]
}

/**
 * The client's side of a connection: writes what it is told, byte for byte, and reads answers one by one as
 * RFC 9112 has them framed, so that a byte too many shows as the beginning of a wrong next answer.
 */
export class Conversation {
  readonly socket: Socket
  #bytes = ''
  #ended = false
  #reset = false
  #wake: () => void = () => undefined
  readonly #onData = (chunk: Buffer): void => {
    this.#bytes += chunk.toString('latin1')
    this.#wake()
  }

  constructor(socket: Socket) {
    this.socket = socket
    const ended = (): void => {
      this.#ended = true
      this.#wake()
    }
    socket.on('data', this.#onData).resume()
    socket.once('end', ended).once('close', ended)
    socket.on('error', (error: NodeJS.ErrnoException) => (this.#reset = error.code === 'ECONNRESET'))
  }

  /** The connection was reset, not ended. */
  get reset(): boolean {
    return this.#reset
  }

  send(text: string | Buffer): void {
    if (!this.socket.destroyed)
      this.socket.write(typeof text === 'string' ? Buffer.from(text, 'latin1') : text)
  }

  /** Gives the socket to somebody else, nothing of it having been read too far. */
  release(): Socket {
    this.socket.off('data', this.#onData)
    this.socket.pause()
    if (this.#bytes !== '') this.socket.unshift(Buffer.from(this.#bytes, 'latin1'))
    return this.socket
  }

  /** The next final answer, to a request of that method; `cut` where the connection ended before it was whole. */
  async answer(method = 'GET'): Promise<Answer | 'cut'> {
    const informational: number[] = []
    for (;;) {
      const head = await this.#upTo('\r\n\r\n')
      if (head === undefined) return 'cut'
      const status = Number(/^HTTP\/1\.[01] (\d{3})(?: |\r\n)/.exec(head)?.[1] ?? Number.NaN)
      if (Number.isNaN(status))
        throw new Error(`this is not an answer: ${JSON.stringify(head.slice(0, 200))}`)
      if (status >= 100 && status < 200 && status !== 101) {
        informational.push(status)
        continue
      }
      const body = await this.#body(status, method, head)
      return body === undefined ? 'cut' : { status, head, body, informational }
    }
  }

  /** Everything up to the end of the connection. */
  async rest(): Promise<string> {
    while (!this.#ended) await this.#more()
    return this.#take(this.#bytes.length)
  }

  async #body(status: number, method: string, head: string): Promise<string | undefined> {
    const tunnel = status === 101 || (method === 'CONNECT' && status === 200)
    if (method === 'HEAD' || status === 204 || status === 304 || tunnel) return ''
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1]
    if (length !== undefined) return this.#exactly(Number(length))
    if (/\r\ntransfer-encoding: *chunked/i.test(head)) return this.#chunks()
    return this.rest()
  }

  async #chunks(): Promise<string | undefined> {
    let body = ''
    for (;;) {
      const line = await this.#upTo('\r\n')
      if (line === undefined) return undefined
      const size = Number.parseInt(line, 16)
      if (size === 0) break
      const chunk = await this.#exactly(size + 2)
      if (chunk === undefined) return undefined
      body += chunk.slice(0, -2)
    }
    for (;;) {
      const line = await this.#upTo('\r\n')
      if (line === undefined) return undefined
      if (line === '\r\n') return body
    }
  }

  async #upTo(mark: string): Promise<string | undefined> {
    for (;;) {
      const at = this.#bytes.indexOf(mark)
      if (at !== -1) return this.#take(at + mark.length)
      if (this.#ended) return undefined
      await this.#more()
    }
  }

  async #exactly(count: number): Promise<string | undefined> {
    while (this.#bytes.length < count) {
      if (this.#ended) return undefined
      await this.#more()
    }
    return this.#take(count)
  }

  #take(count: number): string {
    const taken = this.#bytes.slice(0, count)
    this.#bytes = this.#bytes.slice(count)
    return taken
  }

  #more(): Promise<void> {
    return new Promise((resolve) => (this.#wake = resolve))
  }
}
