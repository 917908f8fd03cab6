/** What a ClientHello says of where it goes. */
export interface ClientHello {
  /** RFC 6066, 3; absent where the client named none. */
  readonly serverName?: string
}

const HANDSHAKE_RECORD = 0x16
const CLIENT_HELLO = 0x01
const SERVER_NAME = 0x0000
const HOST_NAME = 0x00
/** RFC 8446, 5.1: what a record may hold. */
const MAX_RECORD_BYTES = 16 * 1024
/** Post-quantum keys and a session ticket make 3 KiB; as much as one record holds. */
const MAX_HELLO_BYTES = 16 * 1024
/** Clients divide their hello to hide its name from simple readers; the largest in records of 64 bytes. */
const MAX_RECORDS = 256

/**
 * Reads the first message of a TLS client, in however many records it comes. It is not verified here: a server
 * that takes it otherwise than we do is given nothing it could not have had from a hello we understand.
 *
 * @returns undefined while more bytes are needed; `malformed` for what no ClientHello begins with, one that
 *   names more than one server included.
 */
export function readClientHello(bytes: Buffer): ClientHello | 'malformed' | undefined {
  const parts: Buffer[] = []
  for (let at = 0; at + 5 <= bytes.length;) {
    const length = bytes.readUInt16BE(at + 3)
    const isHandshake = bytes[at] === HANDSHAKE_RECORD && bytes[at + 1] === 3
    if (!isHandshake || length === 0 || length > MAX_RECORD_BYTES) return 'malformed'
    if (parts.push(bytes.subarray(at + 5, at + 5 + length)) > MAX_RECORDS) return 'malformed'
    at += 5 + length
  }
  const message = Buffer.concat(parts)
  if (message.length < 4) return undefined
  const end = 4 + message.readUIntBE(1, 3)
  if (message[0] !== CLIENT_HELLO || end > MAX_HELLO_BYTES) return 'malformed'
  return message.length < end ? undefined : helloOf(message.subarray(4, end))
}

/** RFC 8446, 4.1.2. */
function helloOf(body: Buffer): ClientHello | 'malformed' {
  try {
    const reader = new Reader(body)
    // Version and random; session id, cipher suites and compression methods.
    reader.take(34)
    reader.vector(1)
    reader.vector(2)
    reader.vector(1)
    // TLS 1.0 knew none.
    if (reader.isAtEnd) return {}
    const extensions = new Reader(reader.vector(2))
    const names: Buffer[] = []
    while (!extensions.isAtEnd) {
      const type = extensions.number(2)
      const data = extensions.vector(2)
      if (type !== SERVER_NAME) continue
      const list = new Reader(new Reader(data).vector(2))
      while (!list.isAtEnd) {
        if (list.number(1) !== HOST_NAME) return 'malformed'
        names.push(list.vector(2))
      }
    }
    const [name, ...others] = names
    if (others.length > 0) return 'malformed'
    return name === undefined ? {} : { serverName: name.toString('latin1') }
  } catch (error) {
    if (error instanceof RangeError) return 'malformed'
    throw error
  }
}

/** Reads numbers and vectors of the TLS presentation language (RFC 8446, 3). @throws RangeError at the end. */
class Reader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length
  }

  take(count: number): Buffer {
    const end = this.#at + count
    if (end > this.#bytes.length) throw new RangeError('the message ends in the middle')
    const taken = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return taken
  }

  number(size: 1 | 2): number {
    return this.take(size).readUIntBE(0, size)
  }

  /** @param size of its length, in bytes. */
  vector(size: 1 | 2): Buffer {
    return this.take(this.number(size))
  }
}
