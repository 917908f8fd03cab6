import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { startProxy, startTcpOrigin, type TestProxy } from '../../../test/lab/harness.js'
import { Conversation } from './conversation.js'
import { open } from './ways.js'

// What an origin says is another's word too: one answer for one request, and never a part for the whole.

/** An origin that answers the n-th request, over all its connections, with the n-th of its texts. */
async function scripted(t: Test, texts: (string | ((socket: Socket) => void))[]): Promise<number> {
  return startTcpOrigin(t, (socket) => {
    let bytes = ''
    socket.on('data', (chunk: Buffer) => {
      bytes += chunk.toString('latin1')
      for (let end = bytes.indexOf('\r\n\r\n'); end !== -1; end = bytes.indexOf('\r\n\r\n')) {
        bytes = bytes.slice(end + 4)
        const text = texts.shift()
        if (typeof text === 'string') socket.write(Buffer.from(text, 'latin1'))
        else text?.(socket)
      }
    })
    socket.on('end', () => socket.end())
  })
}

async function ask(t: Test, proxy: TestProxy, port: number, method = 'GET'): Promise<Conversation> {
  const conversation = new Conversation(await open(t, proxy.port))
  const at = `origin.test:${port}`
  conversation.send(`${method} http://${at}/ HTTP/1.1\r\nHost: ${at}\r\n\r\n`)
  return conversation
}

const ok = (body: string): string => `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`

t.test('an answer whose framing cannot be told is 502, or a reset where it has begun', async (t) => {
  const proxy = await startProxy(t)
  const cases: readonly [what: string, answer: string, status: number | 'reset'][] = [
    ['not HTTP', 'SSH-2.0-x\r\n\r\n', 502],
    ['another version', 'HTTP/3.0 200 OK\r\n\r\n', 502],
    ['no status', 'HTTP/1.1 OK\r\n\r\n', 502],
    ['a status of two digits', 'HTTP/1.1 20 OK\r\n\r\n', 502],
    ['a status below 100', 'HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n', 502],
    ['a status of 000', 'HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n', 502],
    [
      'length and chunks',
      'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      502,
    ],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n123456', 502],
    ['a negative length', 'HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n', 502],
    ['another coding', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n', 502],
    ['a space in a field name', 'HTTP/1.1 200 OK\r\nContent Length : 0\r\n\r\n', 502],
    ['a bare CR in a field', 'HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n', 502],
    ['a NUL in a field', 'HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n', 502],
    ['a folded line', 'HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n', 502],
    ['a head of 100 KiB', `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(100_000)}\r\n\r\n`, 502],
    [
      'a switch nobody asked for',
      'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n',
      502,
    ],
    ['a bad chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n', 'reset'],
    [
      'a chunk longer than it says',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n12\r\n0\r\n\r\n',
      'reset',
    ],
    [
      'a folded trailer',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\nX: a\r\n b\r\n\r\n',
      'reset',
    ],
  ]
  for (const [what, text, expected] of cases) {
    const port = await scripted(t, [text])
    const answer = await (await ask(t, proxy, port)).answer()
    t.equal(answer === 'cut' ? 'reset' : answer.status, expected, what)
  }
})

t.test('what an origin sends unasked is nobody\u2019s answer', async (t) => {
  const proxy = await startProxy(t)
  const evil = ok('injected')
  for (const [what, first] of [
    ['behind an answer, in the same packet', ok('first') + evil],
    ['behind an answer without a body', `HTTP/1.1 204 No Content\r\n\r\n${evil}`],
    ['behind the head of HEAD', `HTTP/1.1 200 OK\r\nContent-Length: ${evil.length}\r\n\r\n${evil}`],
    [
      'behind the last chunk',
      `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n${evil}`,
    ],
  ] as const) {
    const port = await scripted(t, [first, ok('second')])
    const method = what.includes('HEAD') ? 'HEAD' : 'GET'
    await (await ask(t, proxy, port, method)).answer(method)
    const next = await (await ask(t, proxy, port)).answer()
    t.match(next, { status: 200, body: 'second' }, what)
  }

  let speak = (): void => undefined
  const spoken = new Promise<void>((resolve) => {
    speak = resolve
  })
  const port = await scripted(t, [
    (socket) => {
      socket.write(ok('first'), () => {
        // On a connection that is kept, while nobody waits for an answer.
        setTimeout(() => socket.write(evil, speak), 50)
      })
    },
    ok('second'),
  ])
  await (await ask(t, proxy, port)).answer()
  await spoken
  // As in the kernel's own buffers: the bytes are there before the next request goes out.
  await new Promise((resolve) => setTimeout(resolve, 50))
  t.match(
    await (await ask(t, proxy, port)).answer(),
    { status: 200, body: 'second' },
    'while the connection is idle',
  )
})

t.test('informational answers pass; any number of them holds nobody for ever', async (t) => {
  const proxy = await startProxy(t)
  const hint = 'HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n'
  const port = await scripted(t, [`HTTP/1.1 102 Processing\r\n\r\n${hint.repeat(3)}${ok('end')}`])
  t.match(await (await ask(t, proxy, port)).answer(), {
    status: 200,
    body: 'end',
    informational: [102, 103, 103, 103],
  })
})

t.test(
  'a reason, fields and their order come as they were said, but for what is between two neighbours',
  async (t) => {
    const proxy = await startProxy(t)
    const port = await scripted(t, [
      'HTTP/1.1 299 Not Quite \xe9\r\nX-One: 1\r\nx-two:2\r\nX-One: 3\r\nConnection: X-Hop, content-length\r\nX-Hop: 4\r\n' +
        'Keep-Alive: timeout=1\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nok',
      'HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n',
    ])
    const answer = await (await ask(t, proxy, port)).answer()
    if (answer === 'cut') throw new Error('no answer')
    t.match(
      answer.head,
      /^HTTP\/1\.1 299 Not Quite \xe9\r\nX-One: 1\r\nx-two: 2\r\nX-One: 3\r\nContent-Length: 2\r\nVia: 1\.1 discobot\r\n/,
    )
    t.notMatch(answer.head, /X-Hop|timeout=1|Proxy-Authenticate|Upgrade|chunked/i)
    t.equal(answer.body, 'ok')
    t.match(
      await (await ask(t, proxy, port)).answer(),
      { status: 200, head: /^HTTP\/1\.1 200 \r\n/ },
      'no reason',
    )
  },
)
