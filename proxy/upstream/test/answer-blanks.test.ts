import t from 'tap'
import { AnswerBlanks } from '../answer-blanks.js'
import { openRaw, startProxy, startTcpOrigin } from '../../../test/lab/harness.js'

// Blanks in an answer that everybody reads alike are no reason to refuse it, and go no further.

interface Row {
  readonly what: string
  readonly answer: string
  /** All that the client gets, its framing aside; absent where it is refused. */
  readonly head?: RegExp
  readonly body?: string
}

const OK = 'HTTP/1.1 200 OK\r\n'
const CHUNKED = `${OK}Transfer-Encoding: chunked\r\n\r\n`

const rows: readonly Row[] = [
  {
    what: 'one before a colon',
    answer: `${OK}Content-Length: 2\r\nX-Flag : true\r\nX-Last: 1\r\n\r\nok`,
    head: /\r\nX-Flag: true\r\n/,
    body: 'ok',
  },
  {
    what: 'several, and tabs',
    answer: `${OK}X-Flag \t : a : b\r\nContent-Length: 2\r\n\r\nok`,
    head: /\r\nX-Flag: a : b\r\n/,
    body: 'ok',
  },
  {
    what: 'before the colon of a length, which counts',
    answer: `${OK}Content-Length : 2\r\n\r\nok`,
    head: /\r\nContent-Length: 2\r\n/,
    body: 'ok',
  },
  {
    what: 'before the colon of a coding, with padded chunks',
    answer: `${OK}Transfer-Encoding : chunked\r\n\r\n5 \r\nhello\r\n0 \r\n\r\n`,
    body: 'hello',
  },
  {
    what: 'in a hint on the way',
    answer: `HTTP/1.1 103 Early Hints\r\nLink : </a>; rel=preload\r\n\r\n${OK}X : 1\r\nContent-Length: 2\r\n\r\nok`,
    head: /\r\nX: 1\r\n/,
    body: 'ok',
  },
  { what: 'behind chunk sizes', answer: `${CHUNKED}5   \r\nhello\r\n0   \r\n\r\n`, body: 'hello' },
  {
    what: 'behind sizes of two digits, with bytes that look like sizes',
    answer: `${CHUNKED}0C\t \r\n5   \r\n0   \r\n\r\n1  \r\n!\r\n0\r\n\r\n`,
    body: '5   \r\n0   \r\n!',
  },
  { what: 'before an extension', answer: `${CHUNKED}2 ;a=b\r\nok\r\n0\r\n\r\n`, body: 'ok' },
  { what: 'in a trailer', answer: `${CHUNKED}2\r\nok\r\n0\r\nX-Sum : 1\r\n\r\n`, body: 'ok' },
  {
    what: 'in a body, where they are bytes',
    answer: `${OK}Content-Length: 6\r\n\r\nX : 1\n`,
    body: 'X : 1\n',
  },
  { what: 'within a name', answer: `${OK}X Y: 1\r\nContent-Length: 2\r\n\r\nok` },
  { what: 'before a name', answer: `${OK} X: 1\r\nContent-Length: 2\r\n\r\nok` },
  { what: 'of two lengths', answer: `${OK}Content-Length: 2\r\nContent-Length : 3\r\n\r\nok!` },
  {
    what: 'of a length beside chunks',
    answer: `${OK}Content-Length : 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`,
  },
  { what: 'within a size', answer: `${CHUNKED}1 0\r\n0123456789abcdef\r\n0\r\n\r\n` },
  { what: 'before a size', answer: `${CHUNKED} 2\r\nok\r\n0\r\n\r\n` },
]

for (const row of rows) {
  t.test(`a blank ${row.what}`, async (t) => {
    const proxy = await startProxy(t)
    const port = await startTcpOrigin(t, (socket) =>
      socket.once('data', () => socket.write(row.answer, 'latin1')),
    )
    const client = await openRaw(
      t,
      proxy.port,
      `GET http://origin.test:${port}/ HTTP/1.0\r\nHost: origin.test:${port}\r\n\r\n`,
    )
    const { text } = await client.closed()
    if (row.body === undefined) {
      // A 502 with the reason, or cut behind a head that is out.
      if (!row.answer.startsWith(CHUNKED)) t.match(text, /^HTTP\/1\.1 502 [\s\S]*HPE_/)
      t.notMatch(text, /ok|0123/)
      return
    }
    t.match(text, /^HTTP\/1\.1 200 /)
    t.match(text, row.head ?? /./)
    t.equal(text.slice(text.indexOf('\r\n\r\n') + 4), row.body)
  })
}

t.test('names and their blanks may come byte by byte', (t) => {
  const blanks = new AnswerBlanks('GET')
  const answer = Buffer.from(`${OK}X-Flag  : 1\r\nX Y: 1\r\nContent-Length: 2\r\n\r\nok`)
  for (let at = 0; at < answer.length; at += 1) blanks.settle(answer.subarray(at, at + 1))
  t.equal(answer.toString(), `${OK}X-Flag:   1\r\nX:\0: 1\r\nContent-Length: 2\r\n\r\nok`)
  t.end()
})
