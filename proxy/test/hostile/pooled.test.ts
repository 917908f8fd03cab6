import { createServer as createHttpServer } from 'node:http'
import { createSecureServer } from 'node:http2'
import type { AddressInfo, Server, Socket } from 'node:net'
import t, { type Test } from 'tap'
import { createLeafIssuer } from '../../tls/leaf.js'
import { startProxy, type TestProxy } from '../../../test/lab/harness.js'

// A connection that is kept is used again only by requests that may be sent to where it leads.

/** A server on all of 127.0.0.0/8 that answers with the address it was reached at. */
async function everywhere(t: Test, server: Server): Promise<number> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

const whereReached = (
  request: { readonly socket: Socket; resume(): unknown },
  response: { end(text: string): unknown },
): void => {
  const { localAddress } = request.socket
  request.resume()
  response.end(localAddress ?? '')
}

async function urls(t: Test, proxy: TestProxy): Promise<Readonly<Record<string, string>>> {
  const issuer = createLeafIssuer(proxy.originAuthority, Date.now)
  const tls = { key: issuer.keyPem, cert: issuer.issue('two.test') }
  const plain = await everywhere(t, createHttpServer(whereReached))
  // Speaks both; HTTP/1.1 when that is all it is offered.
  const secure = await everywhere(t, createSecureServer({ ...tls, allowHTTP1: true }, whereReached))
  return {
    'HTTP/1.1': `http://two.test:${plain}/`,
    'HTTP/1.1 in TLS': `https://two.test:${secure}/`,
    'HTTP/2': `https://two.test:${secure}/h2`,
  }
}

const curlFor = (proxy: TestProxy, form: string, url: string, ...more: string[]) =>
  proxy.curl(form === 'HTTP/2' ? '--http2' : '--http1.1', '-x', 'http://$PROXY', ...more, url)

const addresses = { 'two.test': ['127.0.0.1', '127.0.0.2'] }

t.test('a rule over methods and addresses holds for connections that are open already', async (t) => {
  const proxy = await startProxy(t, {
    addresses,
    rules: [{ action: 'block', hosts: ['127.0.0.1'], methods: ['POST'] }],
  })
  for (const [form, url] of Object.entries(await urls(t, proxy))) {
    for (let turn = 0; turn < 2; turn += 1) {
      t.match(await curlFor(proxy, form, url), { status: 200 }, form)
      const posted = await curlFor(proxy, form, url, '-d', 'x')
      t.match(posted, { status: 200, body: '127.0.0.2' }, `${form}: the first address is closed to POST`)
    }
  }
})

t.test('so does a configuration that is loaded later', async (t) => {
  const proxy = await startProxy(t, { addresses })
  const places = await urls(t, proxy)
  for (const [form, url] of Object.entries(places)) {
    t.match(await curlFor(proxy, form, url), { status: 200, body: '127.0.0.1' }, form)
  }
  proxy.server.reconfigure({
    config: { ...proxy.config, egress: { ...proxy.config.egress, block: ['127.0.0.1'] } },
    secrets: proxy.secrets,
    trust: proxy.trust,
  })
  for (const [form, url] of Object.entries(places)) {
    t.match(await curlFor(proxy, form, url), { status: 200, body: '127.0.0.2' }, form)
  }
})
