import { constants, type ServerHttp2Stream } from 'node:http2'
import type { ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { until } from '../../../test/lab/cache-front.js'
import { openTls, startHttpsOrigin, startProxy } from '../../../test/lab/harness.js'
import { openHttp2, startHttp2Origin } from '../../../test/lab/origins/http2-ends.js'

// A stream of events without end is as slow as its reader, and ends upstream when the reader has gone.

const EVENT = `data: ${'x'.repeat(1_000)}\n\n`
/** What the kernel and both ends hold of a stream that nobody reads, with much room: it would be gigabytes. */
const HELD_BYTES = 48 * 1024 * 1024

interface Source {
  /** Bytes that upstream could hand over. */
  sent: number
  gone: boolean
}

/** Says events for as long as somebody takes them. */
function talk(stream: ServerResponse | ServerHttp2Stream, source: Source): void {
  stream.once('close', () => (source.gone = true))
  const more = (): void => {
    while (!stream.destroyed && !source.gone) {
      source.sent += EVENT.length
      if (!stream.write(EVENT)) return
    }
  }
  stream.on('drain', more)
  more()
}

/** Resolves when nothing more is handed over. */
async function stopped(source: Source): Promise<void> {
  for (let last = -1; last !== source.sent; await delay(300)) last = source.sent
}

t.test('a reader that takes nothing holds upstream back, and lets go of it when it leaves', async (t) => {
  const proxy = await startProxy(t)
  const type = { 'content-type': 'text/event-stream' }
  const old: Source = { sent: 0, gone: false }
  const { port } = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', (_request, response) => {
    response.writeHead(200, type)
    talk(response, old)
  })
  const client = await openTls(t, proxy, `origin.test:${port}`, 'origin.test')
  client.socket.write(`GET /events HTTP/1.1\r\nHost: origin.test:${port}\r\n\r\n`)
  await client.until(/data: x/)
  client.socket.pause()
  await stopped(old)
  t.ok(old.sent < HELD_BYTES, `HTTP/1.1: ${old.sent} bytes`)
  t.notOk(old.gone)
  client.socket.destroy()
  await until(() => old.gone)

  const only: Source = { sent: 0, gone: false }
  const origin = await startHttp2Origin(t, proxy, (stream) => {
    stream.respond({ ':status': 200, ...type })
    talk(stream, only)
  })
  const session = await openHttp2(t, proxy, origin.port)
  const stream = session.request({ ':path': '/events' })
  stream.on('error', () => undefined)
  await new Promise((resolve) => stream.once('readable', resolve))
  await stopped(only)
  t.ok(only.sent < HELD_BYTES, `HTTP/2: ${only.sent} bytes`)
  t.notOk(only.gone)
  stream.close(constants.NGHTTP2_CANCEL)
  await until(() => only.gone)
  await until(() => proxy.server.traffic.live().length === 0)
  t.equal(proxy.server.traffic.live().length, 0)
})
