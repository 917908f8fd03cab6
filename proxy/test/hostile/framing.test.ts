import t from 'tap'
import { malformed, runTable, served, type Row } from './table.js'

// Where a request ends must be the same for us, for upstream and for the next request (RFC 9112, 6).

const CHUNKED = 'Transfer-Encoding: chunked\r\n'
const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: origin.test\r\n\r\n'

const post =
  (fields: string, body: string): Row['send'] =>
  ({ request }) =>
    request('POST', fields, body)

const rows: readonly Row[] = [
  { what: 'a sized body', send: post('Content-Length: 5\r\n', '12345'), expected: served('POST 12345') },
  { what: 'a chunked body', send: post(CHUNKED, '5\r\n12345\r\n0\r\n\r\n'), expected: served('POST 12345') },
  {
    what: 'length and chunks, chunks first',
    send: post(`${CHUNKED}Content-Length: 5\r\n`, `0\r\n\r\n${SMUGGLED}`),
    expected: malformed(),
  },
  {
    what: 'length and chunks, length first',
    send: post(`Content-Length: 5\r\n${CHUNKED}`, `0\r\n\r\n${SMUGGLED}`),
    expected: malformed(),
  },
  {
    what: 'two lengths that differ',
    send: post('Content-Length: 4\r\nContent-Length: 5\r\n', '12345'),
    expected: malformed(),
  },
  {
    what: 'two lengths that agree',
    send: post('Content-Length: 5\r\nContent-Length: 5\r\n', '12345'),
    expected: malformed(),
  },
  { what: 'a list of lengths', send: post('Content-Length: 5, 5\r\n', '12345'), expected: malformed() },
  { what: 'a length with a sign', send: post('Content-Length: +5\r\n', '12345'), expected: malformed() },
  { what: 'a negative length', send: post('Content-Length: -5\r\n', '12345'), expected: malformed() },
  { what: 'a hexadecimal length', send: post('Content-Length: 0x5\r\n', '12345'), expected: malformed() },
  { what: 'a length with a fraction', send: post('Content-Length: 5.0\r\n', '12345'), expected: malformed() },
  {
    what: 'a length with an exponent',
    send: post('Content-Length: 5e0\r\n', '12345'),
    expected: malformed(),
  },
  {
    what: 'a length with a space in it',
    send: post('Content-Length: 1 0\r\n', '1234567890'),
    expected: malformed(),
  },
  { what: 'an empty length', send: post('Content-Length:\r\n', '12345'), expected: malformed() },
  {
    what: 'a length beyond 64 bits',
    send: post('Content-Length: 18446744073709551621\r\n', '12345'),
    expected: malformed(),
  },
  {
    what: 'digits of another alphabet',
    send: post('Content-Length: \xef\xbc\x95\r\n', '12345'),
    expected: malformed(),
  },
  {
    what: 'spaces around a length',
    send: post('Content-Length:   5  \r\n', '12345'),
    expected: served('POST 12345'),
  },
  {
    what: 'zeros before a length',
    send: post('Content-Length: 005\r\n', '12345'),
    expected: served('POST 12345'),
  },
  {
    what: 'Connection names Content-Length, and what follows GET is a request',
    send: ({ request }) =>
      request('GET', `Connection: content-length\r\nContent-Length: ${SMUGGLED.length}\r\n`, SMUGGLED),
    expected: served(`GET ${SMUGGLED}`),
  },
  {
    what: 'Connection names Transfer-Encoding',
    send: ({ request }) =>
      request('GET', `Connection: transfer-encoding\r\n${CHUNKED}`, `5\r\n12345\r\n0\r\n\r\n`),
    expected: served('GET 12345'),
  },
  { what: 'another coding', send: post('Transfer-Encoding: gzip\r\n', '12345'), expected: malformed(501) },
  { what: 'identity', send: post('Transfer-Encoding: identity\r\n', '12345'), expected: malformed(501) },
  {
    what: 'gzip, then chunks',
    send: post('Transfer-Encoding: gzip, chunked\r\n', '0\r\n\r\n'),
    expected: malformed(501),
  },
  {
    what: 'chunks, then gzip',
    send: post('Transfer-Encoding: chunked, gzip\r\n', '0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'identity, then chunks',
    send: post('Transfer-Encoding: identity, chunked\r\n', '0\r\n\r\n'),
    expected: malformed(501),
  },
  {
    what: 'chunks, then identity',
    send: post('Transfer-Encoding: chunked, identity\r\n', '0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'chunked twice in one field',
    send: post('Transfer-Encoding: chunked, chunked\r\n', '0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'chunked twice in two fields',
    send: post(`${CHUNKED}${CHUNKED}`, '0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'chunked in a second field, after another coding',
    send: post(`Transfer-Encoding: x\r\n${CHUNKED}`, '0\r\n\r\n'),
    expected: malformed(501),
  },
  {
    what: 'another coding in a second field',
    send: post(`${CHUNKED}Transfer-Encoding: x\r\n`, '0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'chunked with a letter before it',
    send: post('Transfer-Encoding: xchunked\r\n', '0\r\n\r\n'),
    expected: malformed(501),
  },
  {
    what: 'chunked with a parameter',
    send: post('Transfer-Encoding: chunked;q=1\r\n', '0\r\n\r\n'),
    expected: malformed(501),
  },
  {
    what: 'chunked in quotes',
    send: post('Transfer-Encoding: "chunked"\r\n', '0\r\n\r\n'),
    expected: malformed(501),
  },
  {
    what: 'a vertical tab before chunked',
    send: post('Transfer-Encoding: \x0bchunked\r\n', '0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'a NUL after chunked',
    send: post('Transfer-Encoding: chunked\0\r\n', '0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'a comma before chunked',
    send: post('Transfer-Encoding: , chunked\r\n', '0\r\n\r\n'),
    expected: malformed(501),
  },
  { what: 'an empty coding', send: post('Transfer-Encoding:\r\n', '0\r\n\r\n'), expected: malformed() },
  {
    what: 'a coding of blanks',
    send: post('Transfer-Encoding: \t \r\n', '0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'an empty coding before chunks',
    send: post(`Transfer-Encoding:\r\n${CHUNKED}`, '0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'an empty coding after chunks',
    send: post(`${CHUNKED}Transfer-Encoding:\r\n`, '0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'capitals',
    send: post('TRANSFER-ENCODING: CHUNKED\r\n', '5\r\n12345\r\n0\r\n\r\n'),
    expected: served('POST 12345'),
  },
  {
    what: 'a tab before chunked',
    send: post('Transfer-Encoding:\tchunked\r\n', '5\r\n12345\r\n0\r\n\r\n'),
    expected: served('POST 12345'),
  },
  {
    what: 'a space before the colon',
    send: post('Transfer-Encoding : chunked\r\n', '0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'chunks in HTTP/1.0',
    send: ({ url, at }) =>
      `POST ${url()} HTTP/1.0\r\nHost: ${at}\r\nConnection: keep-alive\r\n${CHUNKED}\r\n0\r\n\r\n`,
    expected: malformed(),
  },
  {
    what: 'chunked in a folded line',
    send: post('Transfer-Encoding:\r\n chunked\r\n', '0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'a coding hidden in a folded line',
    send: post('X: y\r\n Transfer-Encoding: chunked\r\n', '0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'a size that is no number',
    send: post(CHUNKED, 'x\r\n12345\r\n0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'a size with 0x',
    send: post(CHUNKED, '0x5\r\n12345\r\n0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'a negative size',
    send: post(CHUNKED, '-5\r\n12345\r\n0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'a size beyond 64 bits',
    send: post(CHUNKED, '10000000000000005\r\n12345\r\n0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'an empty size',
    send: post(CHUNKED, '\r\n12345\r\n0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'spaces before a size',
    send: post(CHUNKED, '  5\r\n12345\r\n0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'spaces after a size',
    send: post(CHUNKED, '5  \r\n12345\r\n0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'a chunk longer than its size',
    send: post(CHUNKED, '5\r\n123456\r\n0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'a chunk shorter than its size',
    send: post(CHUNKED, '5\r\n1234\r\n0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'a bare LF after a size',
    send: post(CHUNKED, '5\n12345\r\n0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'a bare LF after a chunk',
    send: post(CHUNKED, '5\r\n12345\n0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'a bare CR after a size',
    send: post(CHUNKED, '5\r12345\r\n0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'a chunk extension',
    send: post(CHUNKED, '5;name=value;other\r\n12345\r\n0\r\n\r\n'),
    expected: served('POST 12345'),
  },
  {
    what: 'a quoted chunk extension',
    send: post(CHUNKED, '5;name="a b"\r\n12345\r\n0\r\n\r\n'),
    expected: served('POST 12345'),
  },
  {
    what: 'a bare LF in a chunk extension',
    send: post(CHUNKED, '5;a\nb\r\n12345\r\n0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'a bare CR in a chunk extension',
    send: post(CHUNKED, '5;a\rb\r\n12345\r\n0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'a NUL in a chunk extension',
    send: post(CHUNKED, '5;a\0b\r\n12345\r\n0\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'a trailer',
    send: post(CHUNKED, '5\r\n12345\r\n0\r\nX-Sum: 1\r\n\r\n'),
    expected: served('POST 12345'),
  },
  {
    what: 'a trailer that says Content-Length',
    send: post(CHUNKED, '5\r\n12345\r\n0\r\nContent-Length: 9\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'a trailer that says Host',
    send: post(CHUNKED, '5\r\n12345\r\n0\r\nHost: other.test\r\n\r\n'),
    expected: served('POST 12345'),
  },
  {
    what: 'a folded trailer',
    send: post(CHUNKED, '5\r\n12345\r\n0\r\nX: 1\r\n 2\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'a trailer with a bare CR',
    send: post(CHUNKED, '5\r\n12345\r\n0\r\nX: 1\rY: 2\r\n\r\n'),
    expected: malformed(),
  },
  {
    what: 'bytes behind a whole request that are none',
    send: ({ request }) => request('POST', 'Content-Length: 5\r\n', '12345 more\r\n\r\n'),
    expected: { answers: [200, 400], then: 'closed', origin: ['POST 12345'] },
  },
  {
    what: 'garbage behind a request that is still being answered',
    send: ({ request }) => `${request('GET')}\0\x01\x02\r\n\r\n`,
    expected: { answers: [200, 400], then: 'closed', origin: ['GET'] },
  },
  {
    what: 'an empty line behind a body, as old browsers send it',
    send: post('Content-Length: 5\r\n', '12345\r\n'),
    expected: served('POST 12345'),
  },
  {
    what: 'two requests at once',
    send: ({ request }) => request('POST', 'Content-Length: 1\r\n', '1') + request('GET', '', '', '/second'),
    expected: served('POST 1', 'GET /second'),
  },
  {
    what: 'a request behind one that closes',
    send: ({ request }) => request('GET', 'Connection: close\r\n') + request('GET', '', '', '/second'),
    expected: { answers: [200], then: 'closed', origin: ['GET'] },
  },
  {
    what: 'an upload answered early is read to its end, and is no request',
    send: ({ request }) => request('POST', `Content-Length: ${SMUGGLED.length}\r\n`, SMUGGLED, '/early'),
    expected: served(`POST /early ${SMUGGLED}`),
  },
  {
    what: 'an upgrade with a body: taken for one, whoever declines the offer',
    send: ({ request }) =>
      request(
        'POST',
        `Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: ${SMUGGLED.length}\r\n`,
        SMUGGLED,
      ),
    expected: { answers: [200], then: 'closed', origin: [`POST ${SMUGGLED}`] },
  },
  {
    what: 'an upgrade with a chunked body',
    send: ({ request }) =>
      request('POST', `Connection: Upgrade\r\nUpgrade: tcp\r\n${CHUNKED}`, '5\r\n12345\r\n0\r\n\r\n'),
    expected: served('POST 12345'),
  },
  {
    what: 'an offer of h2c with a body',
    send: ({ request }) =>
      request(
        'POST',
        'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: 5\r\n',
        '12345',
      ),
    expected: served('POST 12345'),
  },
]

t.test('a request ends where all agree that it ends, or is refused', (t) => runTable(t, rows))
