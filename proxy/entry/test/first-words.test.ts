import t from 'tap'
import { openRaw, startProxy, startTcpOrigin } from '../../../test/lab/harness.js'

// What a client says first reaches a server that waits for it, though it ends no line; and never as a request that
// nobody has judged.

const WORDS = [
  '0033git-upload-pack /project.git\0host=origin.test\0',
  'JDWP-Handshake',
  "<?xml version='1.0'?><stream:stream to='origin.test' version='1.0'>",
  'ruok',
  '{"id":1,"method":"ping"}',
  'x',
]

for (const [kind, passthrough] of [
  ['looked into', []],
  ['passed through', ['origin.test']],
] as const) {
  t.test(`the first words of a client in a tunnel that is ${kind}`, async (t) => {
    const proxy = await startProxy(t, { passthrough })
    let received = ''
    const port = await startTcpOrigin(t, (socket) => {
      socket.on('end', () => socket.end())
      socket.on('data', (chunk: Buffer) => {
        received += chunk.toString('latin1')
        socket.write(`answer to ${chunk.length}`)
      })
    })
    const tunnel = `CONNECT origin.test:${port} HTTP/1.1\r\nHost: origin.test:${port}\r\n\r\n`
    for (const words of WORDS) {
      const client = await openRaw(t, proxy.port, tunnel)
      await client.until(/\r\n\r\n$/)
      client.socket.write(words)
      t.match(await client.until(/answer to \d+$/), new RegExp(`answer to ${words.length}$`), words)
      client.socket.write('more')
      await client.until(/answer to 4$/)
      client.socket.end()
      await client.closed()
    }

    received = ''
    for (const [begin, end] of [
      ['BREW', ' / HTTP/1.1\r\nHost: other.test\r\n\r\n'],
      ['x', 'y / HTTP/1.0\r\n\r\n'],
      ['0033git /a', ' HTTP/1.1\r\n\r\n'],
    ] as const) {
      const client = await openRaw(t, proxy.port, tunnel)
      await client.until(/\r\n\r\n$/)
      client.socket.write(begin)
      await client.until(/answer to \d+$/)
      client.socket.write(end)
      await client.closed()
    }
    t.equal(received, 'BREWx0033git /a', 'what would make a request of them stays here')
  })
}

t.test('the beginning of a method is waited for: it is a request that comes in pieces', async (t) => {
  const proxy = await startProxy(t)
  let received = ''
  const port = await startTcpOrigin(t, (socket) => socket.on('data', (chunk) => (received += String(chunk))))
  const client = await openRaw(
    t,
    proxy.port,
    `CONNECT origin.test:${port} HTTP/1.1\r\nHost: origin.test:${port}\r\n\r\n`,
  )
  await client.until(/\r\n\r\n$/)
  client.socket.write('GE')
  await new Promise((resolve) => setTimeout(resolve, 700))
  client.socket.write('T / HTTP/1.1\r\nHost: other.test\r\n\r\n')
  await client.until(/HTTP\/1\.1 421 /)
  t.equal(received, '')
})
