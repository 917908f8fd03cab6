import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFileSync, readdirSync, readlinkSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { ask, startApi, type Api } from '../../../test/lab/api-process.js'
import { waitFor } from '../../../test/lab/service-lab.js'

// A client may be gone at each moment, in each way. Nothing it has begun goes on, and its place is another's.

/** Clients at a time. */
const CLIENTS = 2
/** More than that: a place is given back a moment after all is gone. A leak takes them within a few rounds. */
const PLACES = 3 * CLIENTS
/** Long enough to be found running, and like no other process's. */
const SLEEP = `9${String(randomBytes(4).readUInt32LE()).padStart(10, '0')}`

interface Conversation {
  readonly socket: Socket
  said(pattern: RegExp): Promise<string>
}

async function dial({ port }: Api): Promise<Conversation> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  socket.on('error', () => undefined)
  await new Promise((resolve) => socket.once('connect', resolve))
  let text = ''
  socket.on('data', (chunk: Buffer) => (text = (text + chunk.toString('latin1')).slice(-10_000)))
  const said = (pattern: RegExp): Promise<string> =>
    waitFor(`${pattern.source} in what was said`, () => pattern.exec(text)?.[0])
  return { socket, said }
}

const UPGRADE =
  'GET /api/terminal HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n'

function exec(shell: string): string {
  const body = JSON.stringify({ shell })
  return (
    'POST /api/exec HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n' +
    `Content-Length: ${body.length}\r\n\r\n${body}`
  )
}

/** A message as clients send them, masked with zeros (RFC 6455, 5.2). */
function typed(text: string): Buffer {
  return Buffer.concat([Buffer.from([0x82, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)])
}

/** In a session of its own, and all that it has started still there. */
const SPREAD = `setsid sleep ${SLEEP} & sleep ${SLEEP} & echo u''p; sleep ${SLEEP}`

/** How a client goes. */
const WAYS: Readonly<Record<string, (socket: Socket) => void>> = {
  'a reset': (socket) => void socket.resetAndDestroy(),
  'an end': (socket) => void socket.destroy(),
  'an end of what it says': (socket) => void socket.end(),
}

/** What it has done before it goes. */
const MOMENTS: Readonly<Record<string, (conversation: Conversation) => Promise<void>>> = {
  'in the middle of asking for a terminal': async ({ socket }) => void socket.write(UPGRADE.slice(0, -10)),
  'with a terminal asked for': async ({ socket }) => void socket.write(UPGRADE),
  'with a terminal open': async ({ socket, said }) => {
    socket.write(UPGRADE)
    await said(/101 Switching/)
  },
  'in the middle of a message': async ({ socket, said }) => {
    socket.write(UPGRADE)
    await said(/101 Switching/)
    socket.write(typed('echo').subarray(0, 4))
  },
  'with programs in a terminal': async ({ socket, said }) => {
    socket.write(UPGRADE)
    await said(/101 Switching/)
    socket.write(typed(`${SPREAD}\n`))
    // Its own line may begin with what the shell tells the terminal.
    await said(/up\r/)
  },
  'while a terminal prints': async ({ socket, said }) => {
    socket.write(UPGRADE)
    await said(/101 Switching/)
    socket.write(typed('yes print\n'))
    await said(/(print\r\n){20}/)
  },
  'in the middle of a command': async ({ socket }) => void socket.write(exec('echo').slice(0, -3)),
  'with a command asked for': async ({ socket }) => void socket.write(exec(`sleep ${SLEEP}`)),
  'with a command that is silent': async ({ socket, said }) => {
    socket.write(exec(SPREAD))
    await said(/"up\\n"/)
  },
  'while a command prints': async ({ socket, said }) => {
    socket.write(exec('yes print'))
    await said(/(print\\n){20}/)
  },
}

/** Processes that any client of this test has begun. */
function running(): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(SLEEP)
    } catch {
      // Ended meanwhile.
      return false
    }
  })
}

function children({ child }: Api): string {
  return readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim()
}

/** Sockets and terminals among them. */
function descriptors({ child }: Api): string[] {
  return readdirSync(`/proc/${child.pid}/fd`).flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/${child.pid}/fd/${fd}`).replace(/\d+/g, 'N')]
    } catch {
      return []
    }
  })
}

/** All places can be had at once, of both kinds. */
async function allFree(api: Api): Promise<boolean> {
  const answers = await Promise.all(
    Array.from({ length: PLACES }, () =>
      ask(api.port, '/api/exec', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{"shell":"sleep 0.05"}',
      }),
    ),
  )
  const terminals = await Promise.all(
    Array.from({ length: PLACES }, async () => {
      const { socket, said } = await dial(api)
      socket.write(UPGRADE)
      return { socket, status: await said(/^HTTP\/1\.1 \d{3} /) }
    }),
  )
  for (const { socket } of terminals) socket.destroy()
  return (
    answers.every(({ status }) => status === 200) && terminals.every(({ status }) => status.includes(' 101 '))
  )
}

async function settled(api: Api, what: string): Promise<void> {
  await waitFor(`${what}: nothing runs`, () => running().length === 0 && children(api) === '')
}

async function waitFree(api: Api, what: string): Promise<void> {
  const until = performance.now() + 10_000
  while (!(await allFree(api))) {
    if (performance.now() > until) throw new Error(`waited in vain for ${what}: all places are free`)
    await settled(api, what)
  }
}

async function begin(t: Test, timeoutS = '2'): Promise<Api> {
  return startApi(t, {
    DISCOBOT_WORKSPACE_PATH: t.testdir(),
    DISCOBOT_API_MAX_TERMINALS: String(PLACES),
    DISCOBOT_API_MAX_COMMANDS: String(PLACES),
    DISCOBOT_API_CLIENT_TIMEOUT: timeoutS,
  })
}

t.test('whenever and however a client goes, nothing of it stays and its place is free', async (t) => {
  const api = await begin(t)
  await waitFree(api, 'at first')
  await settled(api, 'at first')
  const before = descriptors(api).length
  for (const [moment, come] of Object.entries(MOMENTS)) {
    for (const [way, go] of Object.entries(WAYS)) {
      const what = `${moment}, ${way}`
      for (let time = 0; time < CLIENTS; time += 1) {
        const conversation = await dial(api)
        await come(conversation)
        go(conversation.socket)
        conversation.socket.resume()
        t.teardown(() => conversation.socket.destroy())
      }
      await settled(api, what)
      await waitFor(`${what}: descriptors are given back`, () => descriptors(api).length <= before)
      await waitFree(api, what)
      t.pass(what)
      await settled(api, `${what}, after`)
    }
  }
  t.equal((await ask(api.port, '/health')).status, 200)
})

t.test('a client that reads nothing, or is killed, loses what it has begun', async (t) => {
  const api = await begin(t, '1')
  for (const [what, text] of [
    ['a command', exec(`yes; sleep ${SLEEP}`)],
    ['a terminal', UPGRADE],
  ] as const) {
    const { socket, said } = await dial(api)
    socket.write(text)
    await said(what === 'a command' ? /y\\ny/ : /101 Switching/)
    if (what === 'a terminal') {
      socket.write(typed('yes\n'))
      await said(/y\r\ny/)
    }
    socket.pause()
    await settled(api, `${what} that nobody reads`)
    socket.destroy()

    const client = spawn(
      process.execPath,
      [
        '-e',
        'const s=require("net").connect(+process.argv[1],"127.0.0.1");s.write(process.argv[2]);s.pipe(process.stdout)',
        String(api.port),
        text,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    )
    await new Promise((resolve) => client.stdout.once('data', resolve))
    client.stdout.resume()
    client.kill('SIGKILL')
    await settled(api, `${what} whose client was killed`)
  }
  await waitFree(api, 'in the end')
})
