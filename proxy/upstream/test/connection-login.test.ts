import { once } from 'node:events'
import { Agent, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import type { ClientHttp2Session, OutgoingHttpHeaders } from 'node:http2'
import type { Socket } from 'node:net'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openTestCache } from '../../../test/lab/cache-front.js'
import {
  openRaw,
  openTls,
  startHttpOrigin,
  startHttpsOrigin,
  startProxy,
  type TestProxy,
} from '../../../test/lab/harness.js'
import { ask, openHttp2 } from '../../../test/lab/origins/http2-ends.js'

/** What an origin remembers of each of its connections. */
interface Login {
  challenged: boolean
  user: string | undefined
}

/** An origin whose logins are its connections', in three steps as NTLM's, or in one as Negotiate's mostly are. */
class LoginOrigin {
  readonly connections: { readonly socket: Socket; readonly login: Login }[] = []
  readonly #logins = new WeakMap<object, Login>()

  readonly listener = (request: IncomingMessage, response: ServerResponse): void => {
    const login = this.#loginOf(request.socket)
    const [, scheme, message] = /^(NTLM|Negotiate) (\S+)$/i.exec(request.headers.authorization ?? '') ?? []
    request.resume().once('end', () => {
      if (message === 'hello' && scheme?.toUpperCase() === 'NTLM') {
        login.challenged = true
        response.writeHead(401, { 'WWW-Authenticate': 'NTLM challenge' }).end()
        return
      }
      // A proof without the challenge of the same connection proves nothing.
      const isProof = scheme !== undefined && (/negotiate/i.test(scheme) || login.challenged)
      if (isProof) login.user = message
      if (login.user === undefined) {
        response.writeHead(401, { 'WWW-Authenticate': ['Negotiate', 'NTLM'] }).end('who are you?')
      } else
        response.writeHead(200, { 'Cache-Control': 'max-age=600' }).end(`${login.user} ${request.method}`)
    })
  }

  #loginOf(socket: Socket): Login {
    const known = this.#logins.get(socket)
    if (known !== undefined) return known
    const login: Login = { challenged: false, user: undefined }
    this.#logins.set(socket, login)
    this.connections.push({ socket, login })
    return login
  }
}

type Ask = (method?: string, authorization?: string, body?: string) => Promise<string>

/** A client of the proxy with one connection of its own. */
async function openClient(
  t: Test,
  proxy: TestProxy,
  url: URL,
): Promise<{ readonly ask: Ask; readonly leave: () => void }> {
  const isSecure = url.protocol === 'https:'
  const { socket } = isSecure ? await openTls(t, proxy, url.host, url.hostname) : await openRaw(t, proxy.port)
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  agent.createConnection = () => socket
  t.teardown(() => agent.destroy())
  return {
    leave: () => socket.destroy(),
    async ask(method = 'GET', authorization, body) {
      const headers = {
        Host: url.host,
        ...(authorization === undefined ? {} : { Authorization: authorization }),
      }
      const path = isSecure ? url.pathname : url.href
      const request = httpRequest({ agent, method, path, headers })
      request.end(body)
      const [response] = (await once(request, 'response')) as [IncomingMessage]
      let text = ''
      for await (const chunk of response.setEncoding('utf8')) text += chunk as string
      return `${response.statusCode} ${text}`.trim()
    },
  }
}

async function startLoginOrigin(t: Test, proxy: TestProxy, isSecure: boolean): Promise<[LoginOrigin, URL]> {
  const origin = new LoginOrigin()
  const { port } = isSecure
    ? await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', origin.listener)
    : await startHttpOrigin(t, origin.listener)
  return [origin, new URL(`${isSecure ? 'https' : 'http'}://origin.test:${port}/plain/thing`)]
}

async function onlyAliceIsKnown(t: Test, proxy: TestProxy, url: URL): Promise<void> {
  const first = await openClient(t, proxy, url)
  t.equal(await first.ask('GET', 'Negotiate alice'), '200 alice GET')
  t.equal(await first.ask(), '200 alice GET')
  const second = await openClient(t, proxy, url)
  t.equal(await second.ask(), '401 who are you?')
}

for (const isSecure of [false, true]) {
  const over = isSecure ? 'TLS' : 'plain HTTP'
  for (const scheme of ['NTLM', 'Negotiate']) {
    t.test(`${over}, ${scheme}: a login is that of one client, for as long as it stays`, async (t) => {
      const proxy = await startProxy(t)
      const [origin, url] = await startLoginOrigin(t, proxy, isSecure)
      const first = await openClient(t, proxy, url)
      const second = await openClient(t, proxy, url)
      t.equal(await first.ask(), '401 who are you?')
      if (scheme === 'NTLM') t.equal(await first.ask('GET', 'NTLM hello'), '401')
      t.equal(await first.ask('POST', `${scheme} alice`, 'with a body'), '200 alice POST')
      t.equal(await first.ask(), '200 alice GET', 'later requests need not say it again')
      t.equal(await first.ask('POST', undefined, 'more'), '200 alice POST', 'nor those with a body')

      t.equal(await second.ask(), '401 who are you?', 'another client is nobody')
      t.equal(await second.ask('POST', undefined, 'x'), '401 who are you?')
      if (scheme === 'NTLM') t.equal(await second.ask('GET', 'ntlm hello'), '401')
      t.equal(await second.ask('GET', `${scheme.toLowerCase()} bob`), '200 bob GET')
      t.equal(await first.ask(), '200 alice GET', 'both are who they are')

      const ofAlice = origin.connections.find(({ login }) => login.user === 'alice')
      t.equal(origin.connections.filter(({ login }) => login.user === 'alice').length, 1)
      const closed = ofAlice && once(ofAlice.socket, 'close')
      first.leave()
      await closed
      t.pass('her connection ends with hers')
      const third = await openClient(t, proxy, url)
      t.equal(await third.ask(), '401 who are you?')
    })
  }

  t.test(`${over}: what is said to who is logged in is not kept for others`, async (t) => {
    const dir = await mkdtemp(join(tmpdir(), 'discobot-login-'))
    t.teardown(() => rm(dir, { recursive: true, force: true }))
    const cache = await openTestCache(dir)
    t.teardown(() => cache.close())
    const proxy = await startProxy(t, { cache })
    const [, url] = await startLoginOrigin(t, proxy, isSecure)
    await onlyAliceIsKnown(t, proxy, url)
  })
}

t.test('clients of HTTP/2 are told apart by their connections as well', async (t) => {
  const proxy = await startProxy(t)
  const [, url] = await startLoginOrigin(t, proxy, true)
  const first = await openHttp2(t, proxy, Number(url.port))
  const second = await openHttp2(t, proxy, Number(url.port))
  const asked = async (session: ClientHttp2Session, more: OutgoingHttpHeaders = {}): Promise<number> =>
    (await ask(session, { ':path': url.pathname, ...more })).status
  t.equal(await asked(first, { authorization: 'Negotiate alice' }), 200)
  t.equal(await asked(first), 200, 'later streams need not say it again')
  t.equal(await asked(second), 401)
  t.equal(await asked(second, { ':method': 'POST' }), 401)
  t.equal(await asked(first), 200)
})

t.test("by way of an upstream proxy that is handed requests, a login is one client's too", async (t) => {
  const parent = await startProxy(t)
  const proxy = await startProxy(t, {
    upstreamProxy: { url: `http://127.0.0.1:${parent.port}`, resolve: 'remote' },
  })
  const [, url] = await startLoginOrigin(t, proxy, false)
  await onlyAliceIsKnown(t, proxy, url)
})

t.test('other schemes belong to requests, and share connections', async (t) => {
  const proxy = await startProxy(t)
  const [origin, url] = await startLoginOrigin(t, proxy, false)
  for (const authorization of ['Bearer ntlm', 'Basic bmVnb3RpYXRl', 'NTLMish x']) {
    const client = await openClient(t, proxy, url)
    t.equal(await client.ask('GET', authorization), '401 who are you?')
  }
  t.equal(origin.connections.length, 1)
})
