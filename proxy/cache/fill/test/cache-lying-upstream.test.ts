import { gunzipSync } from 'node:zlib'
import t from 'tap'
import { until } from '../../../../test/lab/cache-front.js'
import { MisbehavingOrigin } from '../../../../test/lab/origins/misbehaving-origin.js'
import { proxiedGet, type Proxied } from '../../../../test/lab/proxied-get.js'
import { folder, json, start } from '../../../../test/lab/program.js'
import { seeded } from '../../../../test/lab/seeded.js'

// The promise: whatever upstream does wrong, no client takes a wrong body for a right one, nothing wrong is kept,
// the log says so once, and as soon as upstream does right, clients get what is right.

const KIB = 1024

/** Query → whether the body's being wrong can be seen without a digest too. */
const LIES: readonly (readonly [string, 'always' | 'by digest'])[] = [
  ['short', 'always'],
  ['long', 'by digest'],
  ['truncate', 'always'],
  ['truncate&chunked', 'always'],
  ['reset', 'always'],
  ['reset&chunked', 'always'],
  ['wrong', 'by digest'],
  ['wrong&chunked', 'by digest'],
  ['gzip', 'always'],
  ['partial', 'always'],
  ['status=304', 'always'],
  ['header=Content-Encoding:br', 'always'],
  ['header=Repr-Digest:sha-256=:AAAA:', 'by digest'],
  ['stall', 'always'],
  ['reset&ranges&slip', 'always'],
  ['reset&ranges&wrong', 'by digest'],
  ['reset&ranges&whole&header=ETag:"a"', 'always'],
  ['reset&ranges&retag&header=ETag:"a"', 'always'],
  ['reset&ranges&stop&header=ETag:"a"', 'always'],
]

/** What a client that knows HTTP and nothing else would take for the body; undefined for what is visibly not it. */
function takenFor({ status, headers, body, complete }: Proxied): Buffer | undefined {
  if (status !== 200 || !complete) return undefined
  switch (headers['content-encoding']) {
    case undefined:
      return body
    case 'gzip':
      return gunzipSync(body)
    default:
      return undefined
  }
}

t.test('no lie of upstream is passed on as truth, or kept', async (t) => {
  const random = seeded(1)
  const origin = await MisbehavingOrigin.start(t)
  // Requests that differ in their query share an entry: so the lie and the truth are of the same thing.
  const rules = [{ name: 'plain', match: { path: '^/plain/' }, ignore_query: true }]
  const program = await start(t, folder(t), { cache: { min_free: 0, rules }, timeouts: { idle: '1s' } })
  for (const [lie, seen] of LIES) {
    for (const kind of ['digest', 'plain'] as const) {
      if (kind === 'plain' && seen === 'by digest') continue
      for (const size of [1000, 300 * KIB]) {
        const bytes = random.bytes(size)
        const blob = origin.add(bytes)
        const path = kind === 'digest' ? blob : `/plain/${blob.slice(-64)}`
        const url = `http://127.0.0.1:${origin.port}${path}`
        const what = `${lie} (${kind}, ${size} bytes)`
        const readers = Array.from({ length: 3 }, () => proxiedGet(program.port, `${url}?${lie}`))
        for (const answer of await Promise.all(readers)) {
          const taken = takenFor(answer)
          t.ok(taken === undefined || taken.equals(bytes), `${what}: ${answer.status}`)
        }
        const right = await proxiedGet(program.port, url)
        t.ok(right.complete && right.status === 200 && right.body.equals(bytes), `${what}: then right`)
        await until(async () => (await proxiedGet(program.port, url)).headers['x-cache'] === 'HIT')
        t.ok((await proxiedGet(program.port, url)).body.equals(bytes), `${what}: and kept`)
      }
    }
  }
  t.equal(program.log().match(/bad body from upstream/g)?.length, 1, 'said once in half a minute')
  t.notMatch(program.log(), /uncaught|unhandled/i)
  const { errors } = await json(`http://127.0.0.1:${program.apiPort}/api/cache/stats`)
  t.ok(Number(errors) > 20, 'each counted')
  program.process.kill('SIGTERM')
  t.equal(await program.ended(), 0)
})
