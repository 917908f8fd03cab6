import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { startHttpOrigin, startHttpsOrigin } from '../../../test/lab/harness.js'
import { WebSocketServer } from 'ws'
import { startClientLab, startModernOrigin } from './client-lab.js'

// curl gets and sends every byte, in both versions of HTTP, by way of CONNECT and of SOCKS; its TLS ends at us.

t.test('curl sends 8 MB and has them back, over HTTP/1.1 and HTTP/2, CONNECT and SOCKS', async (t) => {
  const lab = await startClientLab(t)
  const { port } = await startModernOrigin(t, lab.proxy, 'origin.test', (request, response) => {
    response.writeHead(200, { 'X-Version': request.httpVersion })
    request.pipe(response)
  })
  const sent = join(lab.folder, 'sent')
  const back = join(lab.folder, 'back')
  const content = randomBytes(8 * 1024 * 1024)
  writeFileSync(sent, content)
  const ways = [lab.address, `socks5h://127.0.0.1:${lab.proxy.port}`]
  for (const way of ways) {
    for (const [option, version] of [
      ['--http1.1', '1.1'],
      ['--http2', '2'],
    ] as const) {
      const name = `${way.split(':')[0]} ${option}`
      const path = `/${way.startsWith('socks') ? 'socks' : 'connect'}${version}`
      const url = `https://origin.test:${port}${path}`
      const said = await lab.said('curl', [
        ...['-sSv', option, '-x', way, '-T', sent, '-o', back, '-w', 'spoke %{http_version}\n', url],
      ])
      t.ok(readFileSync(back).equals(content), name)
      t.match(said, /issuer: O=Discobot Proxy; CN=Discobot Proxy CA/)
      t.match(said, `spoke ${version}\n`)
      t.match(
        said,
        new RegExp(`< x-version: ${version}`, 'i'),
        'upstream hears the version the client speaks',
      )
      t.match(await lab.logged(new RegExp(`${path} `)), `PUT origin.test:${port}${path} 200`)
    }
  }
})

t.test('curl asks a plain server through SOCKS, and the name is ours to resolve', async (t) => {
  const lab = await startClientLab(t)
  const { port } = await startHttpOrigin(t, (request, response) => void response.end(request.headers.host))
  const socks = `socks5h://127.0.0.1:${lab.proxy.port}`
  const answer = await lab.run('curl', ['-sSf', '-x', socks, `http://only-here.test:${port}/socks`])
  t.equal(answer.toString(), `only-here.test:${port}`)
  await lab.logged(/GET only-here\.test:\d+\/socks 200/)
})

t.test('curl switches to WebSocket inside TLS and reads what the server sends', async (t) => {
  const lab = await startClientLab(t)
  const { server, port } = await startHttpsOrigin(
    t,
    lab.proxy.originAuthority,
    'ws.test',
    (_request, response) => void response.writeHead(426).end(),
  )
  const sockets = new WebSocketServer({ server })
  t.teardown(() => void sockets.close())
  const content = randomBytes(30_000)
  sockets.on('connection', (socket, request) => {
    socket.send(`hello ${String(request.headers['x-from'])}`)
    socket.send(content, () => socket.terminate())
  })
  const headers = [
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`,
    'X-From: curl',
  ].flatMap((line) => ['-H', line])
  const answer = await lab.run('curl', [
    '-sSN',
    '--http1.1',
    '-i',
    ...headers,
    `https://ws.test:${port}/feed`,
  ])
  const end = answer.indexOf('\r\n\r\n', answer.indexOf('101 Switching Protocols')) + 4
  // RFC 6455, 5.2: a text frame of 10 bytes, and a binary one whose length is in the two bytes after 126.
  const expected = [
    Buffer.from([0x81, 10]),
    'hello curl',
    Buffer.from([0x82, 126, 30_000 >> 8, 30_000 & 255]),
    content,
  ]
  t.ok(answer.subarray(end).equals(Buffer.concat(expected.map((piece) => Buffer.from(piece)))))
  await lab.logged(/GET ws\.test:\d+\/feed 101/)
})
