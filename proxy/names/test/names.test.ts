import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { SilentNameError } from '../../policy/route-guard.js'
import { ProcessAsker, type Asker } from '../asker.js'
import { Resolver } from '../resolver.js'
import { becomes } from '../../../test/lab/becomes.js'
import { startHttpOrigin, startProxy } from '../../../test/lab/harness.js'

const SCENE = fileURLToPath(new URL('names-scene.js', import.meta.url))

/** Answers when the test says so. */
class HeldAsker implements Asker {
  readonly asked: string[] = []
  readonly #held = new Map<string, { resolve(found: string[]): void; reject(error: Error): void }>()
  isEnded = false

  constructor(
    readonly places: number,
    readonly onEnd: () => void = () => undefined,
  ) {}

  get open(): number {
    return this.#held.size
  }

  ask(host: string): Promise<readonly string[]> {
    this.asked.push(host)
    return new Promise((resolve, reject) => this.#held.set(host, { resolve, reject }))
  }

  answer(host: string, ...addresses: string[]): void {
    this.#held.get(host)?.resolve(addresses)
    this.#held.delete(host)
  }

  end(): void {
    this.isEnded = true
    this.onEnd()
    for (const { reject } of this.#held.values())
      reject(Object.assign(new Error('ended'), { code: 'ESTOPPED' }))
    this.#held.clear()
  }
}

/** A resolver over askers that the test holds. */
function held(limitMs: number, places = 2): { resolver: Resolver; own: HeldAsker; made: HeldAsker[] } {
  const own = new HeldAsker(1)
  const made: HeldAsker[] = []
  const makeAsker = (onEnd: () => void): Asker => {
    const asker = new HeldAsker(places, onEnd)
    made.push(asker)
    return asker
  }
  return { resolver: new Resolver({ limitMs, own, makeAsker }), own, made }
}

t.test('equal names are asked for once, also for a moment after the answer', async (t) => {
  const { resolver, own } = held(10_000)
  const asked = [resolver.resolve('a.test'), resolver.resolve('a.test')]
  own.answer('a.test', '192.0.2.1')
  t.strictSame(await Promise.all(asked), [['192.0.2.1'], ['192.0.2.1']])
  t.strictSame(await resolver.resolve('a.test'), ['192.0.2.1'])
  t.strictSame(own.asked, ['a.test'])
})

t.test('one name here, others in processes, and the rest wait in their order', async (t) => {
  const { resolver, own, made } = held(10_000)
  const names = Array.from({ length: 11 }, (_none, at) => `${at}.test`)
  const found = names.map((name) => resolver.resolve(name))
  t.strictSame(own.asked, ['0.test'])
  t.strictSame(
    made.map(({ asked }) => asked.length),
    [2, 2, 2, 2],
  )
  made[3]?.answer('8.test', '192.0.2.8')
  await found[8]
  await new Promise(setImmediate)
  t.strictSame(made[3]?.asked, ['7.test', '8.test', '9.test'])
  own.answer('0.test', '192.0.2.1')
  await found[0]
  await new Promise(setImmediate)
  t.strictSame(own.asked, ['0.test', '10.test'])
  resolver.close()
  own.answer('10.test', '192.0.2.10')
  t.strictSame(await found[10], ['192.0.2.10'])
  for (const host of own.asked) own.answer(host, '192.0.2.2')
  await Promise.all(found)
})

t.test(
  'a name nobody answers for is given up, and its process with it unless it waits for more',
  async (t) => {
    const { resolver, own, made } = held(50)
    const silent = ['own.test', 'a.test', 'b.test'].map((name) => resolver.resolve(name))
    for (const one of silent) await t.rejects(one, SilentNameError)
    t.equal(made[0]?.isEnded, true)
    t.equal(made.length, 1)
    const late = resolver.resolve('c.test')
    t.strictSame(made[1]?.asked, ['c.test'])
    made[1]?.answer('c.test', '192.0.2.3')
    t.strictSame(await late, ['192.0.2.3'])
    t.equal(made[1]?.isEnded, false)
    // It is asked for still: who asks now gets the answer that comes.
    const again = resolver.resolve('own.test')
    own.answer('own.test', '192.0.2.4')
    t.strictSame(await again, ['192.0.2.4'])
    t.strictSame(own.asked, ['own.test'])
  },
)

t.test('a process that ends by itself costs no answer', async (t) => {
  const { resolver, own, made } = held(10_000)
  const first = resolver.resolve('a.test')
  const second = resolver.resolve('b.test')
  made[0]?.end()
  own.answer('a.test', '192.0.2.1')
  await first
  own.answer('b.test', '192.0.2.2')
  t.strictSame(await second, ['192.0.2.2'])
})

t.test('a process without questions ends, and the next question makes another', async (t) => {
  let made = 0
  let ended = 0
  const resolver = new Resolver({
    own: new HeldAsker(0),
    makeAsker: (onEnd) => {
      made += 1
      return new ProcessAsker(
        process.env,
        () => {
          ended += 1
          onEnd()
        },
        50,
      )
    },
  })
  t.teardown(() => resolver.close())
  await resolver.resolve('localhost')
  t.equal(made, 1)
  await becomes(() => ended > 0)
  await t.rejects(resolver.resolve('a..b'), { code: 'RESOLVE_FAILED' })
  t.equal(made, 2)
})

t.test('a process ends with its proxy, also where that is killed', async (t) => {
  const modules = {
    Resolver: new URL('../resolver.js', import.meta.url),
    OwnAsker: new URL('../asker.js', import.meta.url),
  }
  const imports = Object.entries(modules).map(([name, { href }]) => `import { ${name} } from '${href}'`)
  const program = `${imports.join('\n')}
    const own = new OwnAsker()
    own.open = own.places
    await new Resolver({ own }).resolve('localhost')
    console.log('asked')
    setInterval(() => undefined, 1_000)`
  const proxy = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => proxy.kill('SIGKILL'))
  await once(proxy.stdout, 'data')
  const children = readFileSync(`/proc/${proxy.pid}/task/${proxy.pid}/children`, 'utf8').trim().split(' ')
  t.match(children, [/^\d+$/])
  proxy.kill('SIGKILL')
  await becomes(() => !existsSync(`/proc/${children[0]}`) || isZombie(children[0]))
})

function isZombie(pid = ''): boolean {
  return /\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
}

t.test('who asks through the proxy for a silent name is told so with 504, within a tunnel too', async (t) => {
  const resolver = new Resolver({ limitMs: 50, own: new HeldAsker(1_000) })
  const proxy = await startProxy(t, { resolve: resolver.resolve })
  const plain = await proxy.curl('-x', 'http://$PROXY', '-D', '-', 'http://silent.test/')
  t.equal(plain.status, 504)
  t.match(plain.body, /error=dns_timeout/)
  t.match(plain.body, /cannot resolve silent\.test: no answer in 0\.05 s/)
  t.equal((await proxy.curl('-x', 'http://$PROXY', 'https://silent.test/')).status, 504)
})

t.test(
  "the machine's own rules hold in the process too: its hosts file, and names that are none",
  async (t) => {
    const busy = new HeldAsker(0)
    const resolver = new Resolver({ own: busy })
    t.teardown(() => resolver.close())
    t.ok((await resolver.resolve('localhost')).includes('127.0.0.1'))
    await t.rejects(resolver.resolve('a..b'), { code: 'RESOLVE_FAILED' })
    const { port } = await startHttpOrigin(t, (_request, response) => void response.end('reached'))
    const proxy = await startProxy(t, { resolve: resolver.resolve })
    t.equal((await proxy.curl('-x', 'http://$PROXY', `http://localhost:${port}/`)).body, 'reached')
  },
)

t.test(
  'forty names without an answer hold up no other, by a real server of names that is silent',
  async (t) => {
    const dir = mkdtempSync(join(tmpdir(), 'discobot-names-'))
    t.teardown(() => rmSync(dir, { recursive: true, force: true }))
    const scene = await playScene(t, dir)
    t.equal(scene.unanswered, 40)
    t.ok(scene.slowestMs < 2_000, `the slowest of twenty good names took ${scene.slowestMs} ms`)
    t.equal(scene.fromHosts, '127.0.0.5')
    t.equal(scene.bySearchDomain, '127.0.0.9')
  },
)

interface Scene {
  readonly unanswered: number
  readonly slowestMs: number
  readonly fromHosts: string
  readonly bySearchDomain: string
}

/** Runs names-scene in a network of its own, with a resolv.conf and a hosts file of its own. */
async function playScene(t: Test, dir: string): Promise<Scene> {
  writeFileSync(join(dir, 'resolv.conf'), 'nameserver 127.0.0.1\nsearch corp.test\n')
  writeFileSync(join(dir, 'hosts'), '127.0.0.1 localhost\n127.0.0.5 written.test\n')
  const script = `ip link set lo up
    mount --bind '${dir}/resolv.conf' "$(readlink -f /etc/resolv.conf)"
    mount --bind '${dir}/hosts' /etc/hosts
    exec '${process.execPath}' '${SCENE}'`
  const flags = ['--net', '--mount', '--propagation', 'private']
  const child = spawn(
    'unshare',
    [...(process.getuid?.() === 0 ? [] : ['-r']), ...flags, 'sh', '-ec', script],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  t.teardown(() => child.kill('SIGKILL'))
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  await once(child, 'close')
  return JSON.parse(output) as Scene
}
