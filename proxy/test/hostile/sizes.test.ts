import t from 'tap'
import { malformed, runTable, served, type Row } from './table.js'

// What is too large is refused while it is read, in every way, and never reaches upstream whole.

const KIB = 1024
const CHUNKED = 'Transfer-Encoding: chunked\r\n'
const x = (count: number): string => 'x'.repeat(count)

const rows: readonly Row[] = [
  {
    what: 'a request line below the limit',
    send: ({ url, at }) => `GET ${url(`/${x(60 * KIB)}`)} HTTP/1.1\r\nHost: ${at}\r\n\r\n`,
    expected: served(`GET /${x(60 * KIB)}`),
  },
  {
    what: 'a request line above it',
    send: ({ url, at }) => `GET ${url(`/${x(70 * KIB)}`)} HTTP/1.1\r\nHost: ${at}\r\n\r\n`,
    expected: malformed(431),
  },
  {
    what: 'a request line that never ends',
    send: ({ url }) => `GET ${url(`/${x(300 * KIB)}`)}`,
    expected: malformed(431),
  },
  {
    what: 'a method of 100 KiB',
    send: ({ url, at }) => `${x(100 * KIB)} ${url()} HTTP/1.1\r\nHost: ${at}\r\n\r\n`,
    expected: malformed(),
  },
  {
    what: 'a field below the limit',
    send: ({ request }) => request('GET', `X: ${x(60 * KIB)}\r\n`),
    expected: served('GET'),
  },
  {
    what: 'a field above it',
    send: ({ request }) => request('GET', `X: ${x(70 * KIB)}\r\n`),
    expected: malformed(431),
  },
  {
    what: 'a name above it',
    send: ({ request }) => request('GET', `${x(70 * KIB)}: 1\r\n`),
    expected: malformed(431),
  },
  {
    what: 'many fields that are too large together',
    send: ({ request }) => request('GET', `X: ${x(KIB)}\r\n`.repeat(80)),
    expected: malformed(431),
  },
  {
    what: 'a thousand small fields',
    send: ({ request }) => request('GET', 'X: y\r\n'.repeat(999)),
    expected: served('GET'),
  },
  {
    what: 'one more of them',
    send: ({ request }) => request('GET', 'X: y\r\n'.repeat(1_000)),
    expected: malformed(431),
  },
  {
    what: 'twenty thousand of them',
    send: ({ request }) => request('GET', 'X: y\r\n'.repeat(20_000)),
    expected: malformed(431),
  },
  {
    what: 'fields that never end',
    send: ({ request }) => request('GET', 'X: yyyyyyyy\r\n'.repeat(20_000)).slice(0, -2),
    expected: malformed(431),
  },
  {
    what: 'a Host of 70 KiB',
    send: ({ url }) => `GET ${url()} HTTP/1.1\r\nHost: ${x(70 * KIB)}\r\n\r\n`,
    expected: malformed(431),
  },
  {
    what: 'a Cookie of 50 KiB',
    send: ({ request }) => request('GET', `Cookie: a=${x(50 * KIB)}\r\n`),
    expected: served('GET'),
  },
  {
    what: 'a chunk extension of 100 KiB',
    send: ({ request }) => request('POST', CHUNKED, `5;x=${x(100 * KIB)}\r\n12345\r\n0\r\n\r\n`),
    expected: malformed(413),
  },
  {
    what: 'a chunk size with 100 KiB of zeros',
    send: ({ request }) => request('POST', CHUNKED, `${'0'.repeat(100 * KIB)}5\r\n12345\r\n0\r\n\r\n`),
    expected: served('POST 12345'),
  },
  {
    what: 'trailers of 100 KiB',
    send: ({ request }) => request('POST', CHUNKED, `5\r\n12345\r\n0\r\nX: ${x(100 * KIB)}\r\n\r\n`),
    expected: malformed(431),
  },
  {
    what: 'many trailers',
    send: ({ request }) =>
      request('POST', CHUNKED, `5\r\n12345\r\n0\r\n${'X: yyyyyyyy\r\n'.repeat(20_000)}\r\n`),
    expected: malformed(431),
  },
  {
    what: 'ten thousand empty lines before a request',
    send: ({ request }) => '\r\n'.repeat(10_000) + request('GET'),
    expected: served('GET'),
  },
  {
    what: 'a body of a hundred thousand chunks of one byte',
    send: ({ request }) => request('POST', CHUNKED, `${'1\r\nx\r\n'.repeat(100_000)}0\r\n\r\n`),
    expected: served('POST 100000 bytes'),
  },
  {
    what: 'a large upload to another host: the refusal is read before the connection ends',
    send: ({ url }) =>
      `PUT ${url()} HTTP/1.1\r\nHost: other.test\r\nContent-Length: ${8 * KIB * KIB}\r\n\r\n${x(8 * KIB * KIB)}`,
    expected: served(`PUT ${8 * KIB * KIB} bytes`),
    inTunnel: malformed(421),
  },
  {
    what: 'a large chunked upload to another host',
    send: ({ url }) =>
      `PUT ${url()} HTTP/1.1\r\nHost: other.test\r\n${CHUNKED}\r\n${`10000\r\n${x(65_536)}\r\n`.repeat(128)}0\r\n\r\n`,
    expected: served(`PUT ${8 * KIB * KIB} bytes`),
    inTunnel: malformed(421),
  },
  {
    what: 'a large upload that is answered before it has come: what upstream did not want is dropped',
    send: ({ request }) => request('PUT', `Content-Length: ${4 * KIB * KIB}\r\n`, x(4 * KIB * KIB), '/early'),
    expected: { answers: [200], then: 'served', origin: [] },
  },
]

t.test('too much of anything', (t) => runTable(t, rows))
