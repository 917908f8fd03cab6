/**
 * A program: a port of this container that leads to HOST:PORT by way of the proxy's CONNECT, for clients that go
 * past every proxy, as docker's does with the connections it takes over (attach, exec).
 *
 *   node connect-forward.js ADDRESS HOST:PORT
 *
 * Listens on the same port of ADDRESS, and prints `listening`.
 */
import { request } from 'node:http'
import { createServer, type Socket } from 'node:net'

const [address = '', target = ''] = process.argv.slice(2)

createServer({ allowHalfOpen: true }, (client) => {
  client.on('error', () => client.destroy())
  const asked = request({ host: '127.0.0.1', port: 17080, method: 'CONNECT', path: target })
  asked.on('error', () => client.destroy())
  asked.once('connect', (_answer, tunnel: Socket) => {
    tunnel.allowHalfOpen = true
    tunnel.on('error', () => client.destroy())
    client.pipe(tunnel)
    tunnel.pipe(client)
  })
  asked.end()
}).listen(Number(target.split(':')[1]), address, () => process.stdout.write('listening\n'))
