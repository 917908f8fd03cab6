import { STATUS_CODES } from 'node:http'

// Parts as a hostile upstream sends them, the same whichever version of HTTP it speaks.

export const WHOLE = '0123456789abcdefghij'
/** What has come before a body breaks off. */
export const HALF = WHOLE.slice(0, 10)
const REST = WHOLE.slice(10)

export interface Lie {
  readonly what: string
  readonly status: number
  /** A list is as many fields. */
  readonly fields: Readonly<Record<string, string | readonly string[]>>
  readonly body: string
}

type Fields = Lie['fields']

function lie(what: string, status: number, fields: Fields, body = ''): Lie {
  return { what, status, fields, body }
}

function sized(what: string, status: number, fields: Fields, body = ''): Lie {
  return lie(what, status, { 'Content-Length': String(body.length), ...fields }, body)
}

function rest(what: string, range: Fields[string], body = REST, more: Fields = {}): Lie {
  return sized(what, 206, { 'Content-Range': range, ETag: '"a"', ...more }, body)
}

/** Answers to who asks for what follows HALF, none of which is that. */
export const RESTS: readonly Lie[] = [
  rest('less than its range says', 'bytes 10-19/20', REST.slice(0, 4)),
  rest('more than its range says', 'bytes 10-19/20', `${REST}more`),
  lie('less, and no length', 206, { 'Content-Range': 'bytes 10-19/20', ETag: '"a"' }, 'abc'),
  rest('a range that ends before it begins', 'bytes 10-9/10', ''),
  rest('not to the end', 'bytes 10-15/20', REST.slice(0, 6)),
  rest('to an end that nobody knows', 'bytes 10-15/*', REST.slice(0, 6)),
  rest('from elsewhere', 'bytes 9-19/20', WHOLE.slice(9)),
  rest('a negative range', 'bytes -10-19/20'),
  rest('a range that is no number', 'bytes x-y/z'),
  rest('a range beyond all numbers', `bytes 10-${'9'.repeat(400)}/${'9'.repeat(400)}`),
  rest('another unit', 'lines 10-19/20'),
  rest('two ranges', ['bytes 10-19/20', 'bytes 0-9/20']),
  rest('two ranges in one field', 'bytes 10-19/20, bytes 0-9/20'),
  sized('no range', 206, { ETag: '"a"' }, REST),
  rest('several parts', 'bytes 10-19/20', REST, { 'Content-Type': 'multipart/byteranges; boundary=x' }),
  rest('another version of it', 'bytes 10-19/20', REST, { ETag: '"b"' }),
  sized('no version of it', 206, { 'Content-Range': 'bytes 10-19/20' }, REST),
  rest('a weak version of it', 'bytes 10-19/20', REST, { ETag: 'W/"a"' }),
  rest('an encoding', 'bytes 10-19/20', REST, { 'Content-Encoding': 'gzip' }),
  sized('all of it, from the beginning', 200, { ETag: '"a"' }, WHOLE),
  sized('that there is no such range', 416, { 'Content-Range': 'bytes */10' }),
  lie('that nothing has changed', 304, { ETag: '"a"' }),
]

/** Answers to who asks for all of it, or for all from the start. */
export const NO_WHOLES: readonly Lie[] = [
  sized('206 to no range', 206, { 'Content-Range': 'bytes 0-9/20' }, HALF),
  sized('206 of all of it', 206, { 'Content-Range': 'bytes 0-19/20' }, WHOLE),
  sized('206 with more than its range', 206, { 'Content-Range': 'bytes 0-9/20' }, WHOLE),
  sized('parts that overlap', 206, { 'Content-Type': 'multipart/byteranges; boundary=b' }, HALF),
  sized('416 to no range', 416, { 'Content-Range': 'bytes */3' }),
  lie('304 to no condition', 304, { ETag: '"a"' }),
  sized('416 of nonsense', 416, { 'Content-Range': 'bytes -1/x' }),
]

/** Answers to who asks for a part in the middle. */
export const PARTS: readonly Lie[] = [
  sized('the part', 206, { 'Content-Range': 'bytes 5-9/20' }, '56789'),
  sized('all of it as a part', 206, { 'Content-Range': 'bytes 0-19/20' }, WHOLE),
  sized('a part as the whole', 200, { 'Content-Range': 'bytes 5-14/20' }, HALF),
  sized('a part of what nobody knows', 206, { 'Content-Range': 'bytes 5-9/*' }, '56789'),
]

/** The ranges that these are asked for with. */
export const ASKED = ['bytes=5-9', 'bytes=-5', 'bytes=5-9,7-12', 'bytes=99999999999999999999-']

/** In HTTP/1.1, ended by its connection. */
export function inHttp1({ status, fields, body }: Lie): string {
  const lines = Object.entries(fields).flatMap(([name, value]) =>
    [value].flat().map((one) => `${name}: ${one}`),
  )
  return [`HTTP/1.1 ${status} ${STATUS_CODES[status]}`, ...lines, 'Connection: close', '', body].join('\r\n')
}
