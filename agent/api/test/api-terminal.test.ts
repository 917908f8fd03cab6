import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { WebSocket, type ClientOptions } from 'ws'
import { COMMAND_VARIABLE } from '../command/command.js'
import { parseControl } from '../terminal/control-message.js'
import { readStat } from '../../process/proc-stat.js'
import { findMarked } from '../../process/stragglers.js'
import { ask, startApi, type Api, type Scope } from '../../../test/lab/api-process.js'
import { waitFor } from '../../../test/lab/service-lab.js'

interface Exit {
  readonly code: number | null
  readonly signal: string | null
  readonly reason: string
}

/** A terminal as a client sees it. */
class Client {
  readonly socket: WebSocket
  /** All that was printed. */
  text = ''
  exit: Exit | undefined
  closeCode: number | undefined

  constructor(socket: WebSocket) {
    this.socket = socket
    socket.on('message', (data: Buffer, isBinary) => {
      if (isBinary) this.text += data.toString('latin1')
      else this.exit = (JSON.parse(data.toString()) as { exit: Exit }).exit
    })
    socket.on('close', (code) => (this.closeCode = code))
    socket.on('error', () => {})
  }

  type(text: string): void {
    this.socket.send(Buffer.from(text))
  }

  async sees(pattern: RegExp): Promise<RegExpExecArray> {
    return waitFor(
      `${pattern.source} in ${JSON.stringify(this.text.slice(-500))}`,
      () => pattern.exec(this.text) ?? undefined,
    )
  }

  async ended(): Promise<Exit | undefined> {
    await waitFor('the close', () => this.closeCode !== undefined)
    return this.exit
  }
}

async function connect(
  t: Scope,
  api: Api,
  query = '',
  options: ClientOptions = {},
  protocols: string[] = [],
): Promise<Client> {
  const socket = new WebSocket(`ws://127.0.0.1:${api.port}/api/terminal${query}`, protocols, options)
  t.teardown(() => socket.terminate())
  const client = new Client(socket)
  await new Promise((resolve, reject) => {
    socket.once('open', resolve)
    socket.once('error', reject)
  })
  return client
}

/** The status a handshake is refused with. */
function refusal(
  api: Api,
  path: string,
  options: ClientOptions = {},
  protocols: string[] = [],
): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://127.0.0.1:${api.port}${path}`, protocols, options)
    socket.on('error', () => {})
    socket.once('open', () => reject(new Error('it was accepted')))
    socket.once('unexpected-response', (asked, answer) => {
      resolve(answer.statusCode ?? 0)
      asked.destroy()
    })
  })
}

function isRunning(pid: number): boolean {
  const stat = readStat(pid)
  return stat !== undefined && stat.state !== 'Z'
}

t.test('a real shell in a real terminal: size, resize, keys, exit code', async (t) => {
  const workspace = t.testdir({ sub: {} })
  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: workspace })
  const client = await connect(t, api, '?cols=100&rows=30&cwd=sub')
  client.type('PS1="> "; stty size; tty; pwd; echo "$TERM ä"\n')
  await client.sees(/\b30 100\r\n/)
  await client.sees(/\/dev\/pts\/\d+\r\n/)
  await client.sees(new RegExp(`${join(workspace, 'sub')}\r\n`))
  await client.sees(/xterm-256color \xc3\xa4\r\n/)

  client.type(`sh -c 'trap "stty size" WINCH; echo rea""dy; while :; do sleep 0.05; done'\n`)
  await client.sees(/ready\r\n/)
  client.socket.send('{"resize":{"cols":132,"rows":50}}')
  await client.sees(/50 132\r\n/)

  // Control-C reaches the foreground only, so there is job control, and the terminal is the controlling one.
  client.socket.send('{"input":"\\u0003"}')
  client.type('echo $((6 * 7)); exit 7\n')
  await client.sees(/\b42\r\n/)
  t.same(await client.ended(), { code: 7, signal: null, reason: 'ended' })
  t.equal(client.closeCode, 1000)
})

t.test('when the connection ends nothing is left of the terminal', async (t) => {
  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: t.testdir() })
  const client = await connect(t, api)
  client.type('(trap "" HUP TERM; sleep 1000) & setsid sleep 1000 & sleep 1000 & echo pids $! $$ end\n')
  const [, ...found] = await client.sees(/pids (\d+) (\d+) end\r\n/)
  const pids = found.map(Number)
  t.ok(pids.every(isRunning))
  const marker = /DISCOBOT_COMMAND=([\w-]+)/.exec(readFileSync(`/proc/${pids[1]}/environ`, 'utf8'))?.[1] ?? ''
  t.ok(findMarked(marker, COMMAND_VARIABLE).length >= 4)
  client.socket.terminate()
  await waitFor('the end of all', () => findMarked(marker, COMMAND_VARIABLE).length === 0)
  t.notOk(pids.some(isRunning))
})

t.test('a client that reads nothing stops the program and no more, and is given up', async (t) => {
  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: t.testdir(), DISCOBOT_API_CLIENT_TIMEOUT: '2' })
  const client = await connect(t, api)
  client.type('echo shell $$ end; yes "$(seq 1000 | tr "\\n" " ")"\n')
  const pid = Number((await client.sees(/shell (\d+) end\r\n/))[1])
  client.socket.pause()
  await waitFor('the end of the shell', () => !isRunning(pid))
  const memory =
    Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${api.child.pid}/status`, 'utf8'))?.[1]) / 1024
  t.ok(memory < 150, `${memory} MiB at most`)
})

t.test('a program that reads nothing stops the client and nobody else', async (t) => {
  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: t.testdir(), DISCOBOT_API_CLIENT_TIMEOUT: '1' })
  const client = await connect(t, api)
  client.type('stty raw -echo; echo deaf; sleep 3; stty sane; head -c 100 | wc -c; exit\n')
  await client.sees(/deaf/)
  for (let piece = 0; piece < 64; piece += 1) client.socket.send(Buffer.alloc(65_536, 'x\n'))
  t.equal((await ask(api.port, '/health')).status, 200, 'the API goes on meanwhile')
  await client.sees(/100\r\n/)
  t.ok(client.socket.readyState === WebSocket.OPEN || client.exit !== undefined, 'it was not taken for dead')
})

t.test('who may open one', async (t) => {
  const token = 'a-token-of-more-than-16'
  const api = await startApi(t, { DISCOBOT_API_TOKEN: token, DISCOBOT_WORKSPACE_PATH: t.testdir() })
  const offered = ['discobot.terminal', `discobot.token.${Buffer.from(token).toString('base64url')}`]
  const authorized = { headers: { authorization: `Bearer ${token}` } }
  t.equal(await refusal(api, '/api/terminal'), 401)
  t.equal(await refusal(api, '/api/terminal', {}, ['discobot.terminal', 'discobot.token.eA']), 401)
  t.equal(await refusal(api, '/api/terminal', { origin: 'http://evil.example' }, offered), 403)
  t.equal(await refusal(api, '/api/terminal', { headers: { host: 'rebound.example' } }, offered), 421)
  t.equal(await refusal(api, '/api/terminal', { headers: { 'sec-fetch-site': 'same-site' } }, offered), 403)
  t.equal(await refusal(api, '/api/terminal?cols=0', authorized), 400)
  t.equal(await refusal(api, '/api/terminal?cwd=gone', authorized), 404)
  t.equal(await refusal(api, '/api/terminal?cwd=../..', authorized), 400)
  t.equal(await refusal(api, '/api/nothing', authorized), 404)
  const handshake = { ...authorized.headers, connection: 'Upgrade', upgrade: 'websocket' }
  const keyless = await ask(api.port, '/api/terminal', { headers: handshake })
  t.match(keyless, { status: 400, headers: { 'content-type': 'application/problem+json' } })
  const plain = await ask(api.port, '/api/terminal', authorized)
  t.match(plain, {
    status: 426,
    headers: { upgrade: 'websocket', 'content-type': 'application/problem+json' },
  })

  const own = { origin: `http://127.0.0.1:${api.port}` }
  const client = await connect(t, api, '', own, offered)
  t.equal(client.socket.protocol, 'discobot.terminal', 'the token is not said back')
  client.type('env; exit\n')
  await client.ended()
  t.notMatch(client.text, token)
  t.match(client.text, 'TERM=xterm-256color')
})

t.test('limits: so many at once, idle, and what makes no sense', async (t) => {
  const api = await startApi(t, {
    DISCOBOT_WORKSPACE_PATH: t.testdir(),
    DISCOBOT_API_MAX_TERMINALS: '1',
    DISCOBOT_API_TERMINAL_IDLE: '1',
  })
  const client = await connect(t, api)
  t.equal(await refusal(api, '/api/terminal'), 429)
  t.match(await client.ended(), { reason: 'idle' })

  let next: Client | undefined
  while (next === undefined) next = await connect(t, api).catch(() => undefined)
  next.socket.send('{"resize":{"cols":0,"rows":1}}')
  await next.ended()
  t.equal(next.closeCode, 1002)
  for (const text of [
    '',
    '[]',
    'null',
    '{}',
    '{"input":1}',
    '{"input":"","x":1}',
    '{"resize":{"cols":1}}',
    '{"resize":{"cols":1.5,"rows":2}}',
    '{"__proto__":{"input":"x"}}',
  ])
    t.equal(parseControl(text), undefined, text)
  t.same(parseControl('{"resize":{"cols":1,"rows":1000}}'), { kind: 'resize', cols: 1, rows: 1000 })
})

t.test('a message that is too large ends the connection, not the API', async (t) => {
  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: t.testdir() })
  const client = await connect(t, api)
  client.socket.send(Buffer.alloc(1024 * 1024 + 1))
  await client.ended()
  t.equal(client.closeCode, 1009)
  t.equal((await ask(api.port, '/health')).status, 200)
})

t.test('SIGTERM ends terminals, says so, and leaves nothing', async (t) => {
  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: t.testdir() })
  const client = await connect(t, api)
  client.type('echo shell $$ end\n')
  const pid = Number((await client.sees(/shell (\d+) end\r\n/))[1])
  api.child.kill('SIGTERM')
  t.match(await client.ended(), { reason: 'stopping' })
  t.equal(client.closeCode, 1001)
  t.equal(await api.exited, 0)
  t.notOk(isRunning(pid))
})
