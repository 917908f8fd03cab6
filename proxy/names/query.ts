/** RFC 1035, 4.1.1 and RFC 6895, 2.3. */
export const RCODE = { ok: 0, malformed: 1, failed: 2, unknown: 3, notImplemented: 4, refused: 5 } as const
export type Rcode = (typeof RCODE)[keyof typeof RCODE]

/** RFC 1035, 3.2.2 and RFC 3596, 2.1. */
export const TYPE_A = 1
export const TYPE_AAAA = 28
/** RFC 6891, 6.1.2. */
const TYPE_OPT = 41
const CLASS_IN = 1

const HEADER_BYTES = 12
/** RFC 1035, 2.3.4: with all lengths. */
const MAX_NAME_BYTES = 255
/** What everybody takes over UDP (RFC 1035, 2.3.4), and the most that goes through without fragments (RFC 9715, 3.1). */
const MIN_UDP_BYTES = 512
const MAX_UDP_BYTES = 1_232
/** It may be asked again this soon, when the policy has changed. */
const TTL_SECONDS = 30
/** Pointer to the name of the question, which is always at the same place (RFC 1035, 4.1.4). */
const QUESTION_POINTER = 0xc000 + HEADER_BYTES

/** One question, as far as it can be read. */
export interface Query {
  readonly id: number
  /** What of the flags goes back: opcode and "recursion desired". */
  readonly flags: number
  /** As it came, and as it goes back: the case of its letters is a nonce of some clients. */
  readonly question: Buffer
  /** Its labels with dots between, as bytes; empty for the root. */
  readonly name: string
  readonly type: number
  /** What cannot be answered, and with what it is refused. */
  readonly fault?: Rcode
  /** The client speaks EDNS; the bytes it takes over UDP. */
  readonly edns?: number
}

/** Undefined for what must not be answered at all: it is an answer itself, or has no header. */
export function readQuery(message: Buffer): Query | undefined {
  if (message.length < HEADER_BYTES) return undefined
  const bits = message.readUInt16BE(2)
  if ((bits & 0x8000) !== 0) return undefined
  const head = { id: message.readUInt16BE(0), flags: bits & 0x7900 }
  const nothing = { ...head, question: Buffer.alloc(0), name: '', type: 0 }
  if ((bits & 0x7800) !== 0) return { ...nothing, fault: RCODE.notImplemented }
  const [questions, answers, authorities, additional] = [4, 6, 8, 10].map((at) => message.readUInt16BE(at))
  if (questions !== 1 || answers !== 0 || authorities !== 0) return { ...nothing, fault: RCODE.malformed }
  const named = readName(message, HEADER_BYTES)
  if (named === undefined || named.end + 4 > message.length) return { ...nothing, fault: RCODE.malformed }
  const end = named.end + 4
  const query = {
    ...head,
    question: message.subarray(HEADER_BYTES, end),
    name: named.name,
    type: message.readUInt16BE(named.end),
    ...(additional === 0 ? {} : ednsOf(message, end)),
  }
  return message.readUInt16BE(named.end + 2) === CLASS_IN ? query : { ...query, fault: RCODE.refused }
}

/** No question needs compression, so a pointer is a mistake. */
function readName(message: Buffer, start: number): { name: string; end: number } | undefined {
  const labels: string[] = []
  let at = start
  for (;;) {
    const length = message[at]
    if (length === undefined || length > 63 || at + 1 + length - start > MAX_NAME_BYTES) return undefined
    if (length === 0) return { name: labels.join('.'), end: at + 1 }
    const label = message.subarray(at + 1, at + 1 + length)
    if (label.length < length) return undefined
    const text = label.toString('latin1')
    // A dot inside of a label would be one between two.
    if (text.includes('.')) return undefined
    labels.push(text)
    at += 1 + length
  }
}

/** Where the first record behind the question is an OPT, as it is in all queries that have one. */
function ednsOf(message: Buffer, at: number): { edns?: number } {
  if (at + 11 > message.length || message[at] !== 0 || message.readUInt16BE(at + 1) !== TYPE_OPT) return {}
  return { edns: message.readUInt16BE(at + 3) }
}

/**
 * The answer to a query.
 *
 * @param addresses in bytes, all of the type that was asked for.
 * @param transport over UDP, what does not fit is left out and the client told to come by TCP.
 */
export function renderAnswer(
  query: Query,
  rcode: Rcode,
  addresses: readonly Buffer[],
  transport: 'udp' | 'tcp',
): Buffer {
  const opt = query.edns === undefined ? Buffer.alloc(0) : OPT
  const most =
    transport === 'tcp'
      ? 0xffff
      : Math.min(Math.max(query.edns ?? MIN_UDP_BYTES, MIN_UDP_BYTES), MAX_UDP_BYTES)
  const records = addresses.map((address) => record(query.type, address))
  const size = HEADER_BYTES + query.question.length + opt.length
  const fits = size + records.reduce((sum, { length }) => sum + length, 0) <= most
  const shown = fits ? records : []
  const header = Buffer.alloc(HEADER_BYTES)
  header.writeUInt16BE(query.id, 0)
  // An answer, recursion available; TC where it was too much.
  header.writeUInt16BE(0x8080 | query.flags | (fits ? 0 : 0x0200) | rcode, 2)
  header.writeUInt16BE(query.question.length === 0 ? 0 : 1, 4)
  header.writeUInt16BE(shown.length, 6)
  header.writeUInt16BE(opt.length === 0 ? 0 : 1, 10)
  return Buffer.concat([header, query.question, ...shown, opt])
}

function record(type: number, address: Buffer): Buffer {
  const head = Buffer.alloc(12)
  head.writeUInt16BE(QUESTION_POINTER, 0)
  head.writeUInt16BE(type, 2)
  head.writeUInt16BE(CLASS_IN, 4)
  head.writeUInt32BE(TTL_SECONDS, 6)
  head.writeUInt16BE(address.length, 10)
  return Buffer.concat([head, address])
}

/** RFC 6891, 6.1.2: the root, OPT, what we take over UDP, no flags, no options. */
const OPT = Buffer.from([0, 0, TYPE_OPT, MAX_UDP_BYTES >> 8, MAX_UDP_BYTES & 0xff, 0, 0, 0, 0, 0, 0])
