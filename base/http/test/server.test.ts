import { request, type IncomingHttpHeaders } from 'node:http'
import { connect } from 'node:net'
import t, { type Test } from 'tap'
import { EVERYBODY, type AccessTable } from '../access.js'
import type { GuardedEntry } from '../guarded-entry.js'
import { PROBLEM_DETAILS, refuse, sendJson } from '../problem.js'
import { FOREIGN_ANSWERS, requestGuard } from '../request-guard.js'
import type { Route } from '../route.js'
import { RouteServer } from '../server.js'

// A row is all that is served: method, path, access, query and body are held to it, before its handler is called.

const bare: Pick<Route, 'summary' | 'answers'> = { summary: '', answers: {} }
const entry: GuardedEntry =
  (_ends, work) =>
  (...given) =>
    void work(...given)

type Options = ConstructorParameters<typeof RouteServer>[0]

async function serve(t: Test, routes: readonly Route[], more: Partial<Options> = {}): Promise<number> {
  const server = new RouteServer({
    routes,
    access: { open: EVERYBODY, read: EVERYBODY, write: EVERYBODY },
    elsewhere: 'open',
    guard: requestGuard('127.0.0.1', FOREIGN_ANSWERS),
    problems: PROBLEM_DETAILS,
    spareBodies: 'refused',
    bodyTimeoutMs: 300,
    headersTimeoutMs: 10_000,
    entry,
    failed: () => ({ status: 500, detail: 'it failed', code: 'FAILED' }),
    troubled: () => undefined,
    ...more,
  })
  t.teardown(() => server.cut())
  return server.listen({ host: '127.0.0.1', port: 0 })
}

interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: unknown
}

function ask(
  port: number,
  method: string,
  path: string,
  { body, headers = {} }: { body?: string; headers?: Record<string, string> } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, method, path, headers, agent: false }, (answer) => {
      let text = ''
      answer.on('data', (chunk: Buffer) => (text += chunk.toString()))
      answer.on('end', () => {
        const { statusCode: status = 0, headers } = answer
        resolve({ status, headers, body: text === '' ? undefined : (JSON.parse(text) as unknown) })
      })
    })
    asked.on('error', reject)
    asked.end(body)
  })
}

t.test('a server with a route that it cannot guard or answer does not start', (t) => {
  const route: Route = { ...bare, method: 'GET', path: '/secret', access: 'peer', handle: async () => {} }
  t.throws(
    () => new RouteServer({ routes: [route], access: { open: EVERYBODY } } as unknown as Options),
    /cannot serve GET \/secret: no rule says who may ask what takes "peer"/,
  )
  const upgrade: Route = { ...route, access: 'open', upgrade: async () => {} }
  t.throws(
    () => new RouteServer({ routes: [upgrade], access: { open: EVERYBODY } } as unknown as Options),
    /cannot serve GET \/secret: it takes another protocol/,
  )
  t.end()
})

t.test(
  'each level has its rule, at once or in a while; the handler of a refused request is not called',
  async (t) => {
    const called: string[] = []
    const route = (access: Route['access']): Route => ({
      ...bare,
      method: 'POST',
      path: `/${access}/{name}`,
      access,
      handle: async ({ response, params }) => {
        called.push(access)
        sendJson(response, params)
      },
    })
    const denied = { status: 401, detail: 'no' }
    const access: AccessTable = {
      open: EVERYBODY,
      read: { check: ({ headers }) => (headers.authorization === 'x' ? undefined : denied), schemes: {} },
      write: { check: async (_request, { name }) => (name === 'mine' ? undefined : denied), schemes: {} },
      token: { check: () => Promise.reject(new Error('it cannot be told')), schemes: {} },
    }
    const routes = (['open', 'read', 'write', 'token'] as const).map(route)
    const port = await serve(t, routes, { access, elsewhere: 'read' })
    const statuses = async (headers = {}): Promise<number[]> => {
      const found = []
      for (const path of ['/open/x', '/read/x', '/write/yours', '/write/mine', '/token/x', '/nothing'])
        found.push((await ask(port, 'POST', path, { headers })).status)
      return found
    }
    t.strictSame(await statuses(), [200, 401, 401, 200, 500, 401], 'what is not there is not told either')
    t.strictSame(await statuses({ authorization: 'x' }), [200, 200, 401, 200, 500, 404])
    t.strictSame(called, ['open', 'write', 'open', 'read', 'write'])
    t.equal((await ask(port, 'GET', '/open/x')).status, 405, 'of what is open the methods are told')
    t.equal((await ask(port, 'GET', '/write/mine')).status, 401)
  },
)

t.test('a query holds what the row takes, and nothing else', async (t) => {
  const port = await serve(t, [
    {
      ...bare,
      method: 'GET',
      path: '/q',
      access: 'open',
      query: {
        rule: { kind: 'texts', description: '' },
        key: { kind: 'text', filled: true, maxLength: 5, description: '' },
        all: { kind: 'flag', description: '' },
        limit: { kind: 'whole', min: 1, max: 10, description: '' },
        order: { kind: 'choice', choices: ['up', 'down'], required: true, description: '' },
      },
      handle: async ({ response, query }) =>
        sendJson(response, {
          rule: query.texts('rule'),
          key: query.text('key'),
          all: query.flag('all'),
          limit: query.whole('limit'),
        }),
    },
  ])
  const all = await ask(port, 'GET', '/q?rule=a&rule=b&key=12345&all=1&limit=10&order=up')
  t.strictSame(all.body, { rule: ['a', 'b'], key: '12345', all: true, limit: 10 })
  t.strictSame((await ask(port, 'GET', '/q?order=down&all=0')).body, { rule: [], all: false })
  for (const [query, why] of [
    ['', /"order" is missing/],
    ['order=left', /"order" is not one of up, down/],
    ['order=up&key=', /"key" must not be empty/],
    ['order=up&key=123456', /"key" is longer than 5/],
    ['order=up&key=a&key=b', /"key" is there twice/],
    ['order=up&rule=%00', /"rule" holds a NUL/],
    ['order=up&all=yes', /"all" is neither/],
    ['order=up&limit=11', /"limit" is not a whole number from 1 to 10/],
    ['order=up&__proto__=x', /"__proto__" is not known here; it takes rule, key, all, limit, order/],
  ] as const)
    t.match(await ask(port, 'GET', `/q?${query}`), { status: 400, body: { detail: why } }, query)
})

t.test('a body is read within what the row says of it', async (t) => {
  const port = await serve(t, [
    {
      ...bare,
      method: 'PATCH',
      path: '/b',
      access: 'open',
      body: { description: '', content: { 'application/json': {}, 'application/yaml': {} }, maxBytes: 10 },
      handle: async ({ response, json }) => sendJson(response, { got: await json() }),
    },
  ])
  const patch = (body: string, headers: Record<string, string> = {}): Promise<Answer> =>
    ask(port, 'PATCH', '/b', {
      body,
      headers: { 'content-type': 'application/json; charset=utf-8', ...headers },
    })
  t.match(await patch('[1, 2]'), { status: 200, body: { got: [1, 2] } })
  t.match(await patch('\ufeff1'), { status: 200, body: { got: 1 } }, 'a byte order mark')
  const chunked = { 'transfer-encoding': 'chunked' }
  for (const [body, headers, status] of [
    ['1'.repeat(11), {}, 413],
    ['1'.repeat(11), chunked, 413],
    ['{', {}, 400],
    ['1', { 'content-type': 'text/plain' }, 415],
    ['1', { 'content-encoding': 'gzip' }, 415],
    ['1', { 'content-length': '2' }, 408],
  ] as const)
    t.match(await patch(body, headers), { status }, `${body} ${JSON.stringify(headers)}`)
})

t.test('a body nobody asked for is refused, or read for nobody; it is never the next request', async (t) => {
  const handled: string[] = []
  const routes: readonly Route[] = [
    {
      ...bare,
      method: 'GET',
      path: '/',
      access: 'open',
      handle: async ({ response, request }) => {
        handled.push(request.headers['x-name']?.toString() ?? 'smuggled')
        sendJson(response, {})
      },
    },
  ]
  const smuggled = 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'
  const head = (length: number): string =>
    `GET / HTTP/1.1\r\nHost: localhost\r\nX-Name: own\r\nContent-Length: ${length}\r\n\r\n`
  for (const [spareBodies, whole, more] of [
    ['refused', [400], [400]],
    ['discarded', [200, 200], [200]],
  ] as const) {
    const port = await serve(t, routes, { spareBodies })
    const last = 'GET / HTTP/1.1\r\nHost: localhost\r\nX-Name: last\r\nConnection: close\r\n\r\n'
    const said = await say(port, head(smuggled.length) + smuggled + last)
    t.strictSame(said.slice(0, whole.length), whole, `${spareBodies}: a body that is complete`)
    t.strictSame(
      await say(port, head(smuggled.length + 1) + smuggled),
      more,
      `${spareBodies}: one that is not`,
    )
  }
  t.notOk(handled.includes('smuggled'))
})

/** The statuses of all answers until the server closes. */
function say(port: number, text: string): Promise<number[]> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(text))
    let said = ''
    socket.on('data', (chunk: Buffer) => (said += chunk.toString()))
    socket.once('error', reject)
    socket.once('close', () =>
      resolve([...said.matchAll(/HTTP\/1\.1 (\d{3})/g)].map((match) => Number(match[1]))),
    )
  })
}

t.test('OPTIONS and the list of paths are there for who wants them', async (t) => {
  const route = { ...bare, access: 'write', path: '/a', handle: async () => refuse(409, 'busy') } as const
  const routes: readonly Route[] = [
    { ...route, method: 'PUT' },
    { ...route, method: 'GET', endless: true },
    { ...route, method: 'GET', path: '/b' },
  ]
  const [plain, telling] = [
    await serve(t, routes),
    await serve(t, routes, { answersOptions: true, namesRoutes: true }),
  ]
  t.match(await ask(plain, 'OPTIONS', '/a'), { status: 405, headers: { allow: 'PUT, GET' } })
  t.match(await ask(telling, 'OPTIONS', '/a'), { status: 204, headers: { allow: 'PUT, GET, OPTIONS' } })
  t.match(await ask(telling, 'OPTIONS', '/b'), { status: 204, headers: { allow: 'GET, HEAD, OPTIONS' } })
  t.equal((await ask(telling, 'HEAD', '/a')).status, 405)
  t.strictSame(Object.keys((await ask(plain, 'GET', '/c')).body as object), ['title', 'status', 'detail'])
  t.match(await ask(telling, 'GET', '/c'), { status: 404, body: { routes: ['/a', '/b'] } })
  t.match(await ask(plain, 'GET', '/b'), { status: 409, body: { title: 'Conflict', detail: 'busy' } })
})
