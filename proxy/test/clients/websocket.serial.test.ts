import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { startHttpOrigin, startHttpsOrigin } from '../../../test/lab/harness.js'
import { startClientLab } from './client-lab.js'

// Clients that name the whole URL to the proxy instead of opening a tunnel: `GET wss://host/path HTTP/1.1`.

t.test('a WebSocket works without CONNECT, by each scheme a client may write', async (t) => {
  const lab = await startClientLab(t)
  const refuse = (_request: unknown, response: { end(): unknown }): void => void response.end()
  const plain = await startHttpOrigin(t, refuse)
  const secure = await startHttpsOrigin(t, lab.proxy.originAuthority, 'ws.test', refuse)
  for (const { server } of [plain, secure]) {
    const sockets = new WebSocketServer({ server, handleProtocols: () => 'chat' })
    t.teardown(() => void sockets.close())
    sockets.on('connection', (socket) =>
      socket.on('message', (data, binary) => socket.send(data, { binary })),
    )
  }
  for (const [scheme, port] of [
    ['ws', plain.port],
    ['http', plain.port],
    ['wss', secure.port],
    ['https', secure.port],
  ] as const) {
    const client = new WebSocket(`ws://ws.test:${port}/${scheme}`, ['chat'], {
      createConnection: () => connect(lab.proxy.port, '127.0.0.1'),
      finishRequest: (request) => {
        request.path = `${scheme}://ws.test:${port}/${scheme}`
        request.end()
      },
    })
    await once(client, 'open')
    t.equal(client.protocol, 'chat')
    for (const length of [1, 1_000_000]) {
      const message = randomBytes(length)
      client.send(message)
      const [echo] = (await once(client, 'message')) as [Buffer]
      t.ok(message.equals(echo), `${length} bytes by ${scheme}`)
    }
    client.close(4000, 'done')
    t.equal(((await once(client, 'close')) as [number])[0], 4000)
    await lab.logged(new RegExp(`GET ws\\.test:${port}/${scheme} 101`))
  }
})
