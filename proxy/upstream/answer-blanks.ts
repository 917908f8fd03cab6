import type { ClientRequest } from 'node:http'

// upstream → what its blanks mean → Node's parser

const TAB = 0x09
const LF = 0x0a
const CR = 0x0d
const SPACE = 0x20
const COLON = 0x3a
const SEMICOLON = 0x3b
const ZERO = 0x30
/** Nothing that a header may hold: the parser refuses what has it. */
const NUL = 0x00
/** `HTTP/1.1 200`; the rest of the line says nothing of how the answer goes on. */
const STATUS_LENGTH = 12
const TRANSFER_ENCODING = 'transfer-encoding'

type State = 'status' | 'name' | 'named' | 'value' | 'size' | 'extension' | 'data' | 'over'

/**
 * Reads blanks in an answer as everybody does, where Node's parser would refuse the whole: before the colon of a field
 * (RFC 9112, 5.1: a proxy removes it) and behind the size of a chunk, which the grammar before RFC 7230 allowed. The
 * bytes are changed in place and keep their number: `Name : v` becomes `Name:  v`, and `5  ` becomes `005`. Everything
 * else is left for the parser to judge, whose flag for lenience would let in much more. A size whose line comes in
 * parts is left too, since its digits are gone by then.
 */
export class AnswerBlanks {
  readonly #hasBody: boolean
  #state: State = 'status'
  /** The beginning of the present line, or what comes behind the colon of `Transfer-Encoding`. */
  #text = ''
  #name = ''
  #status = 0
  #chunked = false
  #inTrailers = false
  /** Of the present chunk, with its line end. */
  #left = 0

  constructor(method: string) {
    this.#hasBody = method !== 'HEAD'
  }

  /** @returns whether there may be more to see to. */
  settle(bytes: Buffer): boolean {
    for (let at = 0; at < bytes.length && this.#state !== 'over';) {
      switch (this.#state) {
        case 'data': {
          const taken = Math.min(this.#left, bytes.length - at)
          this.#left -= taken
          at += taken
          if (this.#left === 0) this.#begin('size')
          break
        }
        case 'size':
          at = this.#size(bytes, at)
          break
        default:
          this.#headByte(bytes, at)
          at += 1
      }
    }
    return this.#state !== 'over'
  }

  #begin(state: State): void {
    this.#state = state
    this.#text = ''
  }

  #headByte(bytes: Buffer, at: number): void {
    const byte = bytes[at] ?? NUL
    if (byte === LF) {
      this.#lineEnds()
      return
    }
    const isBlank = byte === SPACE || byte === TAB
    switch (this.#state) {
      case 'status':
        if (this.#text.length < STATUS_LENGTH) this.#text += String.fromCharCode(byte)
        return
      case 'name':
        if (byte === COLON) this.#nameEnds('value')
        else if (!isBlank) this.#text += String.fromCharCode(byte)
        // A line that begins with a blank goes on with the one before; the parser refuses it.
        else if (this.#text === '') this.#nameEnds('value')
        else {
          bytes[at] = COLON
          this.#nameEnds('named')
        }
        return
      case 'named':
        if (isBlank) return
        bytes[at] = byte === COLON ? SPACE : NUL
        this.#state = 'value'
        return
      case 'value':
        if (this.#name === TRANSFER_ENCODING && byte !== CR) this.#text += String.fromCharCode(byte)
        return
      default:
      // The rest of a line of a chunk's size says nothing.
    }
  }

  #nameEnds(state: 'value' | 'named'): void {
    this.#name = this.#text.length === TRANSFER_ENCODING.length ? this.#text.toLowerCase() : ''
    this.#begin(state)
  }

  #lineEnds(): void {
    const isEmpty = this.#state === 'name' && (this.#text === '' || this.#text === '\r')
    if (this.#state === 'status') this.#status = Number(this.#text.slice(-3))
    if (this.#state === 'value' && this.#name === TRANSFER_ENCODING)
      this.#chunked = this.#text.trim().toLowerCase() === 'chunked'
    if (this.#state === 'extension') this.#begin(this.#left === 0 ? 'name' : 'data')
    else if (isEmpty) this.#headEnds()
    else this.#begin('name')
    // The line end behind the bytes of a chunk.
    if (this.#state === 'data') this.#left += 2
  }

  #headEnds(): void {
    const isInformation = this.#status >= 100 && this.#status < 200 && this.#status !== 101
    if (isInformation && !this.#inTrailers) {
      this.#chunked = false
      this.#begin('status')
      return
    }
    const hasChunks = this.#chunked && this.#hasBody && ![101, 204, 304].includes(this.#status)
    this.#begin(hasChunks && !this.#inTrailers ? 'size' : 'over')
  }

  /** The line from `at` on as far as its digits and blanks go. @returns where it goes on. */
  #size(bytes: Buffer, at: number): number {
    let end = at
    while (end < bytes.length && isHex(bytes[end])) end += 1
    this.#text += bytes.toString('latin1', at, end)
    if (end === bytes.length) return end
    let next = end
    while (bytes[next] === SPACE || bytes[next] === TAB) next += 1
    const isWhole = this.#text.length === end - at && end > at
    const follows = bytes[next]
    if (next > end && isWhole && (follows === CR || follows === SEMICOLON)) {
      bytes.copyWithin(next - (end - at), at, end)
      bytes.fill(ZERO, at, next - (end - at))
    }
    this.#left = Number.parseInt(this.#text, 16)
    this.#inTrailers = this.#left === 0
    this.#state = Number.isSafeInteger(this.#left) ? 'extension' : 'over'
    return next
  }
}

/** Before Node's own look at what comes. */
export function settleBlanks(request: ClientRequest): void {
  request.once('socket', (socket) => {
    const blanks = new AnswerBlanks(request.method)
    const look = (bytes: Buffer): void => {
      if (!blanks.settle(bytes)) socket.off('data', look)
    }
    socket.prependListener('data', look)
    request.once('close', () => socket.off('data', look))
  })
}

function isHex(byte: number | undefined): boolean {
  if (byte === undefined) return false
  const letter = byte | 0x20
  return (byte >= 0x30 && byte <= 0x39) || (letter >= 0x61 && letter <= 0x66)
}
