import { once } from 'node:events'
import { constants, type Http2Session, type ServerHttp2Stream } from 'node:http2'
import { connect as connectTls } from 'node:tls'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { silentLogger, type Logger } from '../../../base/log/logger.js'
import { openRaw, startHttpOrigin, startHttpsOrigin, startProxy } from '../../../test/lab/harness.js'
import { ask, openHttp2, reply, startHttp2Origin } from '../../../test/lab/origins/http2-ends.js'

const MIB = 1024 * 1024

t.test('a body that breaks off is a reset stream, never an end, and other streams live on', async (t) => {
  const proxy = await startProxy(t)
  const old = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', (request, response) => {
    if (request.url === '/whole') return void response.end('whole')
    response.writeHead(200)
    response.write('part')
    setTimeout(() => response.socket?.destroy(), 30)
  })
  const only = await startHttp2Origin(t, proxy, (stream, headers) => {
    // Or Node's close() says END_STREAM before it says RST_STREAM.
    stream.respond({ ':status': 200 }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({}))
    if (headers[':path'] === '/whole') return void stream.end('whole')
    stream.write('part')
    if (headers[':path'] === '/gone') setTimeout(() => stream.session?.destroy(), 30)
    else setTimeout(() => stream.close(Number(headers['x-code'])), 30)
  })
  const first = await openHttp2(t, proxy, old.port)
  t.match(await ask(first, { ':path': '/part' }), { ended: false, rstCode: constants.NGHTTP2_INTERNAL_ERROR })
  t.equal((await ask(first, { ':path': '/whole' })).body.toString(), 'whole')

  const second = await openHttp2(t, proxy, only.port)
  const codes = [constants.NGHTTP2_INTERNAL_ERROR, constants.NGHTTP2_CANCEL, constants.NGHTTP2_REFUSED_STREAM]
  for (const code of codes) {
    const answer = await ask(second, { ':path': '/part', 'x-code': code })
    t.match(answer, { ended: false, rstCode: code }, `code ${code} is passed on`)
    t.equal(answer.body.toString(), 'part')
  }
  for (const path of ['/gone', '/part']) {
    const answer = await ask(second, { ':path': path, 'x-code': constants.NGHTTP2_NO_ERROR })
    t.notOk(answer.ended, `${path}: not ended as if it were whole`)
    t.not(answer.rstCode, 0)
  }
  const curl = await proxy.curl(
    '-x',
    'http://$PROXY',
    '--http1.1',
    '-H',
    'X-Code: 0',
    `https://origin.test:${only.port}/part`,
  )
  t.equal(curl.exitCode, 56, 'a client of HTTP/1.1 is reset')
  t.equal((await ask(second, { ':path': '/whole' })).body.toString(), 'whole')
})

t.test(
  'a client that cancels cancels upstream, uploading or downloading; its connection lives on',
  async (t) => {
    const proxy = await startProxy(t)
    const ended: Promise<unknown>[] = []
    const old = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', (request, response) => {
      request.resume()
      ended.push(once(response, 'close'))
      response.writeHead(200)
      response.write('x')
    })
    const codes: (number | undefined)[] = []
    const only = await startHttp2Origin(t, proxy, (stream) => {
      stream.resume()
      ended.push(once(stream, 'close').then(() => codes.push(stream.rstCode)))
      stream.respond({ ':status': 200 })
      stream.write('x')
    })
    for (const port of [old.port, only.port]) {
      const session = await openHttp2(t, proxy, port)
      for (const method of ['GET', 'POST']) {
        const stream = session.request({ ':method': method, ':path': '/' }, { endStream: method === 'GET' })
        stream.on('error', () => undefined)
        if (method === 'POST') stream.write('beginning')
        await once(stream, 'data')
        stream.close(constants.NGHTTP2_CANCEL)
        await ended.at(-1)
      }
      t.notOk(session.destroyed)
    }
    t.strictSame(codes, [constants.NGHTTP2_CANCEL, constants.NGHTTP2_CANCEL])
    t.equal(ended.length, 4)
  },
)

t.test('a refused upload is answered and its stream ended, without reading the rest', async (t) => {
  const proxy = await startProxy(t)
  const session = await openHttp2(t, proxy, 9)
  const stream = session.request({ ':method': 'POST', ':path': '/' })
  const answered = reply(stream)
  const chunk = Buffer.alloc(64 * 1024)
  const pump = (): void => {
    while (!stream.destroyed && !stream.writableEnded && stream.write(chunk));
  }
  stream.on('drain', pump)
  pump()
  const answer = await answered
  t.equal(answer.status, 502)
  t.match(answer.body.toString(), /it refuses connections/)
  t.equal(answer.rstCode, 0)
})

t.test('slow readers and slow servers hold the sender back, both ways, and lose nothing', async (t) => {
  const proxy = await startProxy(t)
  const total = 48 * MIB
  const chunk = Buffer.alloc(64 * 1024, 'x')
  let sent = 0
  const upload: { stream?: ServerHttp2Stream } = {}
  const only = await startHttp2Origin(t, proxy, (stream, headers) => {
    if (headers[':method'] === 'POST') {
      upload.stream = stream
      return
    }
    stream.respond({ ':status': 200 })
    const push = (): void => {
      while (sent < total) {
        sent += chunk.length
        if (!stream.write(chunk)) return void stream.once('drain', push)
      }
      stream.end()
    }
    push()
  })
  const still = async (figure: () => number): Promise<void> => {
    for (let before = -1; before !== figure();) {
      before = figure()
      await delay(200)
    }
  }
  const session = await openHttp2(t, proxy, only.port)
  const down = session.request({ ':path': '/' })
  await once(down, 'response')
  await still(() => sent)
  t.ok(sent < 12 * MIB, `${sent} bytes left the origin for a client that reads nothing`)
  let received = 0
  for await (const piece of down) received += (piece as Buffer).length
  t.equal(received, total)

  const up = session.request({ ':method': 'POST', ':path': '/' })
  let written = 0
  let flushed = 0
  const pump = (): void => {
    while (written < total) {
      written += chunk.length
      if (!up.write(chunk, () => (flushed += chunk.length))) return void up.once('drain', pump)
    }
    up.end()
  }
  pump()
  const answer = reply(up)
  await still(() => flushed)
  t.ok(flushed < 12 * MIB, `${flushed} bytes were taken for a server that reads nothing`)
  let arrived = 0
  t.ok(upload.stream)
  for await (const piece of upload.stream ?? []) arrived += (piece as Buffer).length
  t.equal(arrived, total)
  upload.stream?.respond({ ':status': 200 }, { endStream: true })
  t.equal((await answer).status, 200)
})

t.test('a hundred streams at once share one connection each way, and each gets its own', async (t) => {
  const proxy = await startProxy(t)
  const size = 512 * 1024
  const only = await startHttp2Origin(
    t,
    proxy,
    (stream, headers) => {
      stream.respond({ ':status': 200 })
      stream.end(Buffer.alloc(size, headers['x-letter'] as string))
    },
    { maxSessionMemory: 100 },
  )
  const session = await openHttp2(t, proxy, only.port, { initialWindowSize: MIB })
  const letters = Array.from({ length: 100 }, (_, at) => String.fromCharCode(33 + (at % 90)))
  const answers = await Promise.all(
    letters.map((letter) => ask(session, { ':path': '/', 'x-letter': letter })),
  )
  t.ok(answers.every(({ body }, at) => body.equals(Buffer.alloc(size, letters[at]))))
  t.equal(only.sessions.length, 1)
})

t.test(
  'no more streams are opened upstream than it allows; a full connection gets a second one beside it',
  async (t) => {
    const proxy = await startProxy(t)
    const open = new Map<Http2Session | undefined, number>()
    let most = 0
    const only = await startHttp2Origin(
      t,
      proxy,
      (stream) => {
        const { session } = stream
        open.set(session, (open.get(session) ?? 0) + 1)
        most = Math.max(most, ...open.values())
        stream.once('close', () => open.set(session, (open.get(session) ?? 0) - 1))
        stream.respond({ ':status': 200 })
        setTimeout(() => stream.end('ok'), 50)
      },
      { settings: { maxConcurrentStreams: 5 } },
    )
    const session = await openHttp2(t, proxy, only.port)
    t.equal((await ask(session, { ':path': '/' })).status, 200)
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask(session, { ':path': '/' })))
    t.ok(answers.every(({ status, body }) => status === 200 && body.toString() === 'ok'))
    t.ok(most <= 5, `${most} at once`)
    t.ok(only.sessions.length > 1)
  },
)

t.test(
  'upstream says GOAWAY, refuses a stream or closes an idle connection: the client does not notice',
  async (t) => {
    const proxy = await startProxy(t)
    let refusals = 0
    const only = await startHttp2Origin(t, proxy, (stream, headers) => {
      if (headers[':path'] === '/refused' && refusals++ < 2) {
        return stream.close(constants.NGHTTP2_REFUSED_STREAM)
      }
      stream.respond({ ':status': 200 })
      if (headers[':path'] === '/leaving') stream.session?.close()
      setTimeout(() => stream.end('ok'), 20)
    })
    const session = await openHttp2(t, proxy, only.port)
    const get = async (path: string): Promise<string> =>
      (await ask(session, { ':path': path })).body.toString()
    t.equal(await get('/leaving'), 'ok', 'what is under way ends as it began')
    t.equal(await get('/'), 'ok')
    t.equal(only.sessions.length, 2)
    t.equal(await get('/refused'), 'ok', 'refused twice, sent again')
    only.sessions[1]?.destroy()
    t.equal(await get('/'), 'ok')
    refusals = -100
    const answer = await ask(session, { ':path': '/refused' })
    t.equal(answer.status, 502)
    t.match(answer.body.toString(), /REFUSED_STREAM/)
    refusals = 0
    const posted = await ask(session, { ':method': 'POST', ':path': '/refused' }, Buffer.from('x'))
    t.equal(posted.body.toString(), 'ok', 'and so is a body')
  },
)

t.test('floods of resets and header bombs end the connection, not the proxy', async (t) => {
  const proxy = await startProxy(t)
  const { port } = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', () => undefined)
  const rapid = await openHttp2(t, proxy, port)
  const goneAway = once(rapid, 'goaway')
  for (let at = 0; at < 2_000 && !rapid.destroyed && !rapid.closed; at += 1) {
    const stream = rapid.request({ ':path': '/' })
    stream.on('error', () => undefined)
    stream.close(constants.NGHTTP2_CANCEL)
    if (at % 50 === 0) await delay(1)
  }
  t.ok(
    [constants.NGHTTP2_ENHANCE_YOUR_CALM, constants.NGHTTP2_INTERNAL_ERROR].includes(
      (await goneAway)[0] as number,
    ),
  )

  const settings = await openHttp2(t, proxy, port)
  const calmed = once(settings, 'goaway')
  for (let at = 0; at < 300 && !settings.closed && !settings.destroyed; at += 1) {
    const acknowledged = new Promise((resolve) =>
      settings.settings({ headerTableSize: 4096 + (at % 2) }, resolve),
    )
    await Promise.race([acknowledged, calmed])
  }
  t.equal((await calmed)[0], constants.NGHTTP2_ENHANCE_YOUR_CALM)

  const bomb = await openHttp2(t, proxy, port)
  const large = await ask(bomb, { ':path': '/', 'x-bomb': 'x'.repeat(80 * 1024) })
  t.equal(large.status, 0)
  t.not(large.rstCode, 0)
  const many = await ask(bomb, {
    ':path': '/',
    ...Object.fromEntries(Array.from({ length: 2_000 }, (_, at) => [`x${at}`, ''])),
  })
  t.equal(many.status, 0)
  const origin = await startHttpOrigin(t, (_request, response) => void response.end('alive'))
  t.equal((await proxy.curl('-x', 'http://$PROXY', `http://origin.test:${origin.port}/`)).body, 'alive')
})

t.test(
  'a client that refuses our certificate is named with the setting that lets it pass, in TLS 1.2 and 1.3',
  async (t) => {
    const lines: { host?: string; hint?: string }[] = []
    const logger: Logger = { ...silentLogger, info: (fields: object) => void lines.push(fields) }
    const proxy = await startProxy(t, { logger })
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const named = (): number =>
        lines.filter(({ host, hint }) => host === 'origin.test:1' && hint?.includes('tls.passthrough')).length
      const before = named()
      await proxy.curl(
        ...['-x', 'http://$PROXY', '--capath', '/nowhere', '--cacert', '/etc/ssl/certs/ca-certificates.crt'],
        '--tls-max',
        version.slice(4),
        'https://origin.test:1/',
      )
      t.equal(named(), before + 1, `curl, ${version}`)
      const raw = await openRaw(
        t,
        proxy.port,
        'CONNECT origin.test:1 HTTP/1.1\r\nHost: origin.test:1\r\n\r\n',
      )
      await raw.until(/\r\n\r\n$/)
      raw.socket.removeAllListeners('data')
      const socket = connectTls({
        socket: raw.socket,
        servername: 'origin.test',
        maxVersion: version,
        ca: [],
      })
      await once(socket, 'error')
      raw.socket.destroy()
      for (let tries = 0; named() < before + 2 && tries < 100; tries += 1) await delay(50)
      t.equal(named(), before + 2, `node, ${version}`)
    }
  },
)

t.test('a stop tells clients to go, and waits for the streams that are open', async (t) => {
  const proxy = await startProxy(t)
  const only = await startHttp2Origin(t, proxy, (stream) => {
    stream.respond({ ':status': 200 })
    setTimeout(() => stream.end('whole'), 200)
  })
  const idle = await openHttp2(t, proxy, only.port)
  const busy = await openHttp2(t, proxy, only.port)
  const stream = busy.request({ ':path': '/' })
  const answer = reply(stream)
  await once(stream, 'response')
  const idleGone = once(idle, 'close')
  await proxy.server.stop(5_000)
  await idleGone
  t.match(await answer, { ended: true })
})
