/** The ports of proxy and agent API are nobody else's while they are started again, and who connects waits. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { request } from 'node:http'
import { execPath } from 'node:process'
import t from 'tap'
import { LISTENERS_VARIABLE, listenersOf } from '../../../base/process/held-listeners.js'
import { HeldSockets } from '../held-sockets.js'
import { portHolder } from '../../system/port-holder.js'
import { makeLab, script, waitFor } from '../../../test/lab/service-lab.js'

const HOST = '127.0.0.1'

async function freePort(): Promise<number> {
  const server = createServer().listen(0, HOST)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

function ask(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    request({ host: HOST, port, agent: false }, (answer) => {
      let body = ''
      answer.on('data', (chunk: Buffer) => (body += chunk.toString()))
      answer.on('end', () => resolve(body))
      answer.on('error', reject)
    })
      .on('error', reject)
      .end()
  })
}

/** Answers with its pid on the descriptor it is given, and says so. */
const SERVE = `
const [{ fd }] = JSON.parse(process.env.${LISTENERS_VARIABLE})
require('http').createServer((q, r) => r.end('pid ' + process.pid)).listen({ fd }, () => require('fs').writeSync(3, '\\n'))
`

/** Tries for the port as fast as it can, by every address that leads there. */
function squat(port: number): ChildProcess {
  const code = `
const net = require('net')
for (const host of ['${HOST}', '0.0.0.0', '::']) {
  const go = () => {
    const s = net.createServer((c) => c.end('HTTP/1.1 200 OK\\r\\ncontent-length: 5\\r\\n\\r\\nROGUE'))
    s.on('error', () => setImmediate(go))
    s.listen(${port}, host)
  }
  go()
}
setTimeout(() => console.log('trying'), 20)`
  return spawn(execPath, ['-e', code], { stdio: ['ignore', 'pipe', 'inherit'] })
}

void t.test('a squatter gets no port of a service that is started again', async (t) => {
  const port = await freePort()
  const { supervisor } = makeLab(t)
  const sockets = HeldSockets.bind([{ host: HOST, port }])
  supervisor.add(
    script('server', SERVE, { sockets, readiness: { kind: 'newline', fd: 3 }, restart: 'always' }),
  )
  await supervisor.start('server')
  const first = await ask(port)
  t.equal(first, `pid ${supervisor.statusOf('server').pid}`)

  const rogue = squat(port)
  t.teardown(() => rogue.kill('SIGKILL'))
  if (rogue.stdout !== null) await once(rogue.stdout, 'data')
  const restarting = supervisor.restart('server')
  const during = await Promise.all(Array.from({ length: 5 }, () => ask(port)))
  await restarting
  const second = `pid ${supervisor.statusOf('server').pid}`
  t.ok(
    during.every((answer) => answer === first || answer === second),
    during.join(),
  )
  // A crash is no better a moment.
  supervisor.signal('server', 'SIGKILL')
  await waitFor('the next process', () => {
    const { state, pid } = supervisor.statusOf('server')
    return state === 'ready' && `pid ${pid}` !== second
  })
  t.match(await ask(port), /^pid/)

  // Stopped for good, it does not let anybody wait for ever, and still nobody else has the port.
  await supervisor.stop('server')
  await t.rejects(ask(port), { code: /ECONNRESET|ECONNREFUSED/ })
  await supervisor.start('server')
  t.match(await ask(port), /^pid/)
})

void t.test('what a service starts does not get its sockets', async (t) => {
  const port = await freePort()
  const { supervisor, said } = makeLab(t)
  const sockets = HeldSockets.bind([{ host: HOST, port }])
  const code = `${SERVE}
const { status } = require('child_process').spawnSync('test', ['-e', '/proc/self/fd/5'])
console.log('inherited ' + (status === 0) + ' of ' + require('fs').existsSync('/proc/self/fd/5'))`
  supervisor.add(script('server', code, { sockets, readiness: { kind: 'newline', fd: 3 } }))
  await supervisor.start('server')
  t.equal(
    await waitFor('the line', () => said('server').find((line) => line.startsWith('inherited'))),
    'inherited false of true',
  )
})

void t.test('a port that is taken is said to be, and by whom', async (t) => {
  const server = createServer().listen(0, HOST)
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const free = await freePort()
  t.throws(
    () =>
      HeldSockets.bind([
        { host: HOST, port: free },
        { host: HOST, port },
      ]),
    { code: 'PORT_TAKEN', errno: 'EADDRINUSE', address: { port } },
  )
  t.equal(portHolder(free), undefined, 'and none of the others is kept')
  t.match(portHolder(port), new RegExp(`^pid ${process.pid}, `))
  HeldSockets.bind([{ host: HOST, port: free }]).close()
})

void t.test(
  'an address that is not there yet is kept all the same',
  { skip: process.getuid?.() !== 0 && 'needs root' },
  async (t) => {
    // In a network namespace of its own, as a container has it.
    const code = `
const { HeldSockets } = await import(${JSON.stringify(new URL('../held-sockets.js', import.meta.url).href)})
const { execFileSync } = await import('node:child_process')
const { createServer } = await import('node:net')
const address = { host: '172.17.0.1', port: 17080 }
const held = HeldSockets.bind([address], () => true)
const before = execFileSync('cat', ['/proc/sys/net/ipv4/ip_nonlocal_bind']).toString().trim()
const server = createServer().listen({ fd: held.stdio(5) })
await new Promise((resolve) => server.once('listening', resolve))
execFileSync('ip', ['address', 'add', '172.17.0.1/16', 'dev', 'lo'])
const rogue = createServer()
const code = await new Promise((resolve) => { rogue.once('error', (e) => resolve(e.code)); rogue.listen(17080, '172.17.0.1', () => resolve('got it')) })
console.log(JSON.stringify({ listeners: held.listeners.length, before, code }))
process.exit(0)`
    const inside = `ip link set lo up; exec "$0" --input-type=module -e "$1"`
    const said = execFileSync(
      'unshare',
      ['--net', '--mount-proc', '--pid', '--fork', 'sh', '-c', inside, execPath, code],
      { encoding: 'utf8' },
    )
    t.strictSame(JSON.parse(said), { listeners: 1, before: '0', code: 'EADDRINUSE' })
  },
)

void t.test('a program binds for itself what it is not given', (t) => {
  const at = listenersOf(
    JSON.stringify([{ fd: 5, host: HOST, port: 1 }, { fd: 1, host: HOST, port: 2 }, 'x', null]),
  )
  t.strictSame(at(HOST, 1), { fd: 5 })
  t.strictSame(at(HOST, 2), { host: HOST, port: 2 }, 'never a standard stream')
  t.strictSame(at('0.0.0.0', 1), { host: '0.0.0.0', port: 1 })
  for (const strange of [undefined, '', '{', '7', '{"fd":5}'])
    t.strictSame(listenersOf(strange)(HOST, 1), { host: HOST, port: 1 })
  t.end()
})
