import type { ServerResponse } from 'node:http'
import t, { type Test } from 'tap'
import { becomes } from '../../../test/lab/becomes.js'
import { openRaw, startHttpOrigin, startProxy } from '../../../test/lab/harness.js'

// RFC 9112, 9.3.2: requests that came together are served at the same time only where all of them are safe. The rest
// waits its turn, whatever connection upstream each of them goes out on.

/** An origin that answers when it is told to. */
async function heldOrigin(t: Test): Promise<{
  readonly place: string
  readonly seen: string[]
  answer(what: string): Promise<void>
}> {
  const seen: string[] = []
  const held = new Map<string, ServerResponse>()
  const { port } = await startHttpOrigin(t, (request, response) => {
    const what = `${request.method} ${request.url}`
    request.resume().on('end', () => {
      held.set(what, response)
      seen.push(what)
    })
  })
  return {
    place: `origin.test:${port}`,
    seen,
    async answer(what) {
      await becomes(() => held.has(what))
      held.get(what)?.writeHead(200, { 'Content-Length': what.length }).end(what)
    },
  }
}

const ask = (place: string, method: string, path: string, body = ''): string =>
  `${method} http://${place}${path} HTTP/1.1\r\nHost: ${place}\r\nContent-Length: ${body.length}\r\n\r\n${body}`

t.test('what changes something is answered before what came behind it is sent on', async (t) => {
  const proxy = await startProxy(t)
  const { place, seen, answer } = await heldOrigin(t)
  const client = await openRaw(t, proxy.port, ask(place, 'GET', '/first'))
  // Its connection is kept, so that a GET would be there before anything that needs a new one.
  await answer('GET /first')
  await client.until(/GET \/first$/)
  client.socket.write(
    ask(place, 'POST', '/order', 'x') +
      ask(place, 'GET', '/a') +
      ask(place, 'GET', '/b') +
      ask(place, 'PUT', '/c'),
  )
  await answer('POST /order')
  // Those two are safe, and so are there at once.
  await becomes(() => seen.length === 4)
  t.strictSame(seen.slice(0, 2), ['GET /first', 'POST /order'])
  t.strictSame(seen.slice(2).sort(), ['GET /a', 'GET /b'])
  await answer('GET /a')
  await answer('GET /b')
  await answer('PUT /c')
  await client.until(/GET \/a[^]*GET \/b[^]*PUT \/c$/)
})

t.test('nothing is served behind an answer that ends the connection', async (t) => {
  const proxy = await startProxy(t)
  const { place, seen, answer } = await heldOrigin(t)
  const first = ask(place, 'DELETE', '/one').replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n')
  for (const requests of [first, ask(place, 'DELETE', '/one') + ask(place, 'DELETE', '/two')]) {
    seen.length = 0
    const client = await openRaw(t, proxy.port, requests + ask(place, 'POST', '/last'))
    await becomes(() => seen.length === 1)
    // The second time it is the client that ends it, while all the others wait.
    if (requests === first) await answer('DELETE /one')
    else client.socket.resetAndDestroy()
    await becomes(() => proxy.server.connections === 0 && proxy.server.traffic.live().length === 0)
    t.strictSame(seen, ['DELETE /one'])
  }
})
