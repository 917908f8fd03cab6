/** What a ClientHello says of where it goes, and of how the server may prove that it is that. */
export interface ClientHello {
  /** RFC 6066, 3; absent where the client named none. */
  readonly serverName?: string
  /** Whether the client takes an ECDSA certificate on P-256, as ours are. */
  readonly takesEcdsa: boolean
}

const HANDSHAKE_RECORD = 0x16
const CLIENT_HELLO = 0x01
const SERVER_NAME = 0x0000
const HOST_NAME = 0x00
const SUPPORTED_GROUPS = 0x000a
const SIGNATURE_ALGORITHMS = 0x000d
/** RFC 8446, B.3.1.4. */
const SECP256R1 = 0x0017
/** RFC 8446, B.3.1.3; in TLS 1.2 any hash may go with the key. */
const ECDSA_SCHEMES = [0x0403, 0x0503, 0x0603, 0x0203, 0x0303]
const ECDSA_SECP256R1_SHA256 = 0x0403
/** Suites of TLS 1.2 with ECDSA that OpenSSL has (RFC 8422, 5289, 7251, 7905). */
const ECDSA_SUITES = [0xc009, 0xc00a, 0xc023, 0xc024, 0xc02b, 0xc02c, 0xc0ac, 0xc0ad, 0xcca9]
/** RFC 8446, B.4: suites of TLS 1.3 leave the certificate to the signature algorithms. */
const TLS13_SUITES = 0x13
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
    const suites = numbersOf(reader.vector(2))
    reader.vector(1)
    // TLS 1.0 knew none.
    if (reader.isAtEnd) return { takesEcdsa: takesEcdsa(suites, undefined, undefined) }
    const extensions = new Reader(reader.vector(2))
    const names: Buffer[] = []
    let groups: readonly number[] | undefined
    let schemes: readonly number[] | undefined
    while (!extensions.isAtEnd) {
      const type = extensions.number(2)
      const data = extensions.vector(2)
      if (type === SUPPORTED_GROUPS) groups = numbersOf(new Reader(data).vector(2))
      if (type === SIGNATURE_ALGORITHMS) schemes = numbersOf(new Reader(data).vector(2))
      if (type !== SERVER_NAME) continue
      const list = new Reader(new Reader(data).vector(2))
      while (!list.isAtEnd) {
        if (list.number(1) !== HOST_NAME) return 'malformed'
        names.push(list.vector(2))
      }
    }
    const [name, ...others] = names
    if (others.length > 0) return 'malformed'
    const proof = { takesEcdsa: takesEcdsa(suites, groups, schemes) }
    return name === undefined ? proof : { serverName: name.toString('latin1'), ...proof }
  } catch (error) {
    if (error instanceof RangeError) return 'malformed'
    throw error
  }
}

/** What is not said is not excluded: RFC 8422, 4 and RFC 5246, 7.4.1.4.1. */
function takesEcdsa(
  suites: readonly number[],
  groups: readonly number[] | undefined,
  schemes: readonly number[] | undefined,
): boolean {
  if (
    suites.some((suite) => suite >> 8 === TLS13_SUITES) &&
    schemes?.includes(ECDSA_SECP256R1_SHA256) === true
  )
    return true
  if (!suites.some((suite) => ECDSA_SUITES.includes(suite))) return false
  const hasCurve = groups?.includes(SECP256R1) ?? true
  return hasCurve && (schemes?.some((scheme) => ECDSA_SCHEMES.includes(scheme)) ?? true)
}

function numbersOf(list: Buffer): readonly number[] {
  const reader = new Reader(list)
  const numbers: number[] = []
  while (!reader.isAtEnd) numbers.push(reader.number(2))
  return numbers
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
