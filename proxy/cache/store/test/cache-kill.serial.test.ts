import { createHash } from 'node:crypto'
import { utimesSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { cacheDirectory, wrongEntries } from './cache-directory.js'
import { until } from '../../../../test/lab/cache-front.js'
import { MisbehavingOrigin } from '../../../../test/lab/origins/misbehaving-origin.js'
import { folder, json, start, type Program } from '../../../../test/lab/program.js'
import { proxiedGet, wrongWith, type ProxiedOptions } from '../../../../test/lab/proxied-get.js'
import { seeded, seedFrom, type Seeded } from '../../../../test/lab/seeded.js'

// The promise: however often and whenever the proxy is killed, nobody is ever given a wrong byte, what broke off
// can be seen to have, and the next start finds its directory in order.

const KILLS = 50
const CLIENTS = 10
const KIB = 1024
const MIB = 1024 * KIB
/** Less than all bodies together, so that entries are evicted all the time. */
const MAX_SIZE = 12 * MIB
/** How long a start may take to bring its directory in order, on a machine that does much else. */
const TIDY_MS = 30_000

interface Thing {
  readonly url: string
  readonly bytes: Buffer
}

function things(origin: MisbehavingOrigin, random: Seeded): readonly [Thing, ...Thing[]] {
  const make = (size: number, place: (path: string) => string): Thing => {
    const bytes = random.bytes(size)
    return { bytes, url: `http://127.0.0.1:${origin.port}${place(origin.add(bytes))}` }
  }
  const plain = (path: string): string => `/plain/${path.slice(-64)}`
  return [
    make(1, (path) => path),
    make(20 * KIB, (path) => `${path}?chunked`),
    make(200 * KIB, plain),
    make(300 * KIB, (path) => `${plain(path)}?chunked`),
    make(500 * KIB, (path) => `${path}?drip`),
    make(700 * KIB, (path) => `${plain(path)}?drip&ranges&header=ETag:"a"`),
    make(MIB, (path) => path),
    make(2 * MIB, (path) => `${path}?drip&ranges`),
    make(3 * MIB, plain),
    make(4 * MIB, (path) => `${path}?chunked`),
    make(5 * MIB, (path) => path),
  ]
}

function manner(random: Seeded, size: number): ProxiedOptions {
  const from = random.between(0, size)
  switch (random.between(0, 7)) {
    case 0:
      return { headers: { Range: `bytes=${from}-` } }
    case 1:
      return { headers: { Range: `bytes=${from}-${from + random.between(0, 300 * KIB)}` } }
    case 2:
      return { headers: { Range: `bytes=-${random.between(1, size + 1)}` } }
    case 3:
      return { method: 'HEAD' }
    case 4:
      return { pauseMs: 2 }
    case 5:
      return { leavesAfter: from }
    default:
      return {}
  }
}

interface Load {
  readonly wrong: readonly string[]
  readonly answers: { complete: number; broken: number; hits: number }
  /** Resolves when so many pieces have come. */
  pieces(count: number): Promise<void>
  /** Resolves when every client has its last answer. */
  stop(): Promise<void>
}

/** Clients that ask for one thing after the other until they are stopped. */
function startLoad(port: number, all: readonly [Thing, ...Thing[]], random: Seeded): Load {
  const wrong: string[] = []
  const answers = { complete: 0, broken: 0, hits: 0 }
  let stopped = false
  let pieces = 0
  let wake: () => void = () => undefined
  const onChunk = (): void => {
    pieces += 1
    wake()
  }
  const client = async (): Promise<void> => {
    while (!stopped) {
      const { url, bytes } = random.oneOf(all)
      const how = manner(random, bytes.length)
      const answer = await proxiedGet(port, url, { ...how, onChunk })
      const complaint = wrongWith(bytes, how.method ?? 'GET', answer)
      if (complaint !== undefined) wrong.push(`${JSON.stringify(how)} ${url}: ${complaint}`)
      if (answer.complete) answers.complete += 1
      else answers.broken += 1
      if (answer.headers['x-cache'] === 'HIT') answers.hits += 1
      // Nobody listens any more: let the test's own work go on.
      if (answer.status === 0) await delay(1)
    }
  }
  const clients = Array.from({ length: CLIENTS }, client)
  return {
    wrong,
    answers,
    async pieces(count) {
      while (pieces < count) await new Promise<void>((resolve) => (wake = resolve))
    },
    async stop() {
      stopped = true
      await Promise.all(clients)
    },
  }
}

async function killed(program: Program): Promise<void> {
  program.process.kill('SIGKILL')
  await program.ended()
}

/** What is not in order once the start has had its time; nobody may be asking for anything. */
async function untidiness(program: Program, dir: string): Promise<readonly string[]> {
  const deadline = Date.now() + TIDY_MS
  for (;;) {
    const { bytes, strays } = cacheDirectory(dir)
    const { current_size: size } = await json(`http://127.0.0.1:${program.apiPort}/api/cache/stats`)
    const complaints = strays.map((file) => `stray ${file}`)
    if (size !== bytes) complaints.push(`stats say ${String(size)}, on disk are ${bytes} bytes`)
    if (bytes > MAX_SIZE) complaints.push(`${bytes} bytes are more than allowed`)
    // Listed anew: the first list has what was removed while its files were measured.
    if (complaints.length === 0)
      return wrongEntries(dir, cacheDirectory(dir).entries).map((name) => `bad entry ${name}`)
    if (Date.now() > deadline) return complaints
    await delay(20)
  }
}

function config(maxSize: number): object {
  const rules = [{ name: 'plain', match: { path: '^/plain/' } }]
  return { cache: { max_size: maxSize, min_free: 0, rules } }
}

async function startHere(t: Test, dir: string, maxSize: number): Promise<Program> {
  return start(t, dir, config(maxSize))
}

t.test(`killed ${KILLS} times in the middle of everything`, async (t) => {
  const seed = seedFrom('KILL_SEED')
  t.comment(`KILL_SEED=${seed}`)
  const random = seeded(seed)
  const origin = await MisbehavingOrigin.start(t)
  const all = things(origin, random)
  const dir = folder(t)
  const cacheDir = join(dir, 'proxy', 'cache')
  const totals = { complete: 0, broken: 0, hits: 0, keptOver: 0 }
  for (let kill = 1; kill <= KILLS; kill += 1) {
    const program = await startHere(t, dir, MAX_SIZE)
    // Every other time requests come while the index still loads.
    if (kill % 2 === 0) t.same(await untidiness(program, cacheDir), [], `in order before kill ${kill}`)
    totals.keptOver += cacheDirectory(cacheDir).entries.length
    const load = startLoad(program.port, all, random)
    await load.pieces(random.between(1, 600))
    await delay(random.between(0, 20))
    await killed(program)
    await load.stop()
    t.same(load.wrong, [], `no wrong byte before kill ${kill}`)
    t.notMatch(program.log(), /uncaught|unhandled/i)
    totals.complete += load.answers.complete
    totals.broken += load.answers.broken
    totals.hits += load.answers.hits
  }
  t.comment(JSON.stringify(totals))
  t.ok(totals.complete > KILLS && totals.broken > KILLS, 'answers were whole, and answers broke off')
  t.ok(totals.hits > KILLS && totals.keptOver > KILLS, 'what was kept over kills was served')
  const last = await startHere(t, dir, MAX_SIZE)
  t.same(await untidiness(last, cacheDir), [])
  for (const { url, bytes } of all)
    t.equal(wrongWith(bytes, 'GET', await proxiedGet(last.port, url)), undefined)
})

t.test('what was used last before a kill is evicted last after it', async (t) => {
  const random = seeded(1)
  const origin = await MisbehavingOrigin.start(t)
  const dir = folder(t)
  const cacheDir = join(dir, 'proxy', 'cache')
  const urls = Array.from(
    { length: 10 },
    () => `http://127.0.0.1:${origin.port}${origin.add(random.bytes(MIB))}`,
  )
  const [oldest = '', second = ''] = urls
  const first = await startHere(t, dir, 11 * MIB)
  for (const [at, url] of urls.entries()) {
    await proxiedGet(first.port, url)
    await until(() => cacheDirectory(cacheDir).entries.length === at + 1)
  }
  await killed(first)

  const metaOf = (url: string): string => join(cacheDir, `${entryOf(url)}.meta`)
  const hourAgo = Date.now() / 1000 - 3600
  for (const [at, url] of urls.entries()) utimesSync(metaOf(url), hourAgo + at, hourAgo + at)
  const using = await startHere(t, dir, 11 * MIB)
  t.equal((await proxiedGet(using.port, oldest)).headers['x-cache'], 'HIT')
  await until(async () => (await stat(metaOf(oldest))).mtimeMs > (hourAgo + 60) * 1000)
  await killed(using)

  const evicting = await startHere(t, dir, 11 * MIB)
  await until(async () => {
    const stats = await json(`http://127.0.0.1:${evicting.apiPort}/api/cache/stats`)
    return stats['current_size'] === cacheDirectory(cacheDir).bytes
  })
  const asked = origin.requests.length
  const larger = `http://127.0.0.1:${origin.port}${origin.add(random.bytes(2 * MIB))}`
  await proxiedGet(evicting.port, larger)
  await until(() => cacheDirectory(cacheDir).entries.length === 9)
  t.equal((await proxiedGet(evicting.port, oldest)).headers['x-cache'], 'HIT', 'used before the kill')
  for (const url of urls.slice(3)) {
    t.equal((await proxiedGet(evicting.port, url)).headers['x-cache'], 'HIT', 'younger than those evicted')
  }
  t.equal(origin.requests.length, asked + 1)
  t.equal((await proxiedGet(evicting.port, second)).headers['x-cache'], 'MISS', 'the least recently used')
})

/** The name of the entry of a blob. */
function entryOf(url: string): string {
  return createHash('sha256')
    .update(`blob sha256:${url.slice(-64)}`)
    .digest('hex')
}
