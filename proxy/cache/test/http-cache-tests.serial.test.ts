import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { format } from 'prettier'
import t, { type Test } from 'tap'
import { count, judge, type Run } from './http-cache-score.js'
import { report, unexplained, type Scores } from './http-cache-report.js'
import { folder, start } from '../../../test/lab/program.js'

// The promise: no stored answer is given out where RFC 9111 forbids it, and docs/http-cache-tests.md says how the
// proxy fares, no better than it does.

const PAGE = fileURLToPath(new URL('../../../../docs/http-cache-tests.md', import.meta.url))
const CHILD = fileURLToPath(new URL('./http-cache-tests-child.js', import.meta.url))
const PACKAGE = createRequire(import.meta.url).resolve('http-cache-tests/package.json')

/**
 * Tests at once, one run after the other: most of the time goes into pauses of 3 s that let answers become stale, so
 * all wait together. Only where the machine is too slow for answers that are fresh for 2 s is there a second run.
 */
const AT_ONCE = [150, 50, 15]

/** The suite's own origin, on a port that the kernel chooses. */
async function startOrigin(t: Test): Promise<string> {
  const server = spawn(process.execPath, [join(PACKAGE, '..', 'server', 'server.mjs')], {
    env: {
      npm_config_protocol: 'http',
      npm_config_port: '0',
      npm_config_pidfile: join(folder(t), 'pid'),
    },
  })
  t.teardown(() => server.kill('SIGKILL'))
  let said = ''
  return new Promise((resolve, reject) => {
    // Read on to the end: it says something about each request, and would wait for somebody to hear it.
    server.stdout.on('data', (chunk: Buffer) => {
      said += chunk.toString()
      const port = /Listening on .*:(\d+)\//.exec(said)?.[1]
      if (port !== undefined) resolve(`http://127.0.0.1:${port}`)
    })
    server.once('exit', () => reject(new Error(`the origin has ended: ${said}`)))
  })
}

/** One run of all tests, in front of a cache that is new. */
async function run(t: Test, origin: string, ttl: string | number, atOnce: number): Promise<Run> {
  // Their origin tells by these which request of which test it is.
  const rules = [
    { name: 'tests', match: { path: '^/test/' }, ttl, pass_headers: ['Test-ID', 'Test-Name', 'Req-Num'] },
  ]
  const proxy = await start(t, folder(t), { cache: { min_free: 0, rules } })
  const child = fork(CHILD, [String(proxy.port), origin, String(atOnce)])
  t.teardown(() => child.kill('SIGKILL'))
  const [answer] = (await once(child, 'message')) as [Run]
  proxy.process.kill('SIGTERM')
  return answer
}

function scoresOf(runs: readonly { readonly upstream: Run; readonly never: Run }[]): Scores {
  return {
    upstream: judge(runs.map(({ upstream }) => upstream)),
    never: judge(runs.map(({ never }) => never)),
  }
}

t.test('http-cache-tests', async (t) => {
  const { version } = JSON.parse(readFileSync(PACKAGE, 'utf8')) as { version: string }
  const page = (): string => readFileSync(PAGE, 'utf8')
  const written = (scores: Scores): Promise<string> =>
    format(report(version, scores), { parser: 'markdown', printWidth: 110, proseWrap: 'preserve' })
  const origin = await startOrigin(t)
  const runs: { upstream: Run; never: Run }[] = []
  let scores: Scores = { upstream: [], never: [] }
  for (const atOnce of AT_ONCE) {
    const [upstream, never] = await Promise.all([
      run(t, origin, 'upstream', atOnce),
      run(t, origin, 0, atOnce),
    ])
    runs.push({ upstream, never })
    scores = scoresOf(runs)
    if (unexplained(scores).length === 0 && (await written(scores)) === page()) break
  }

  for (const name of ['upstream', 'never'] as const) {
    const judged = scores[name]
    const kinds = (['required', 'optimal', 'check'] as const).map((kind) => `${kind} ${count(judged, kind)}`)
    t.comment(`ttl ${name}: ${kinds.join(', ')}`)
  }
  t.same(unexplained(scores), [], 'every required test is passed, or its page says why not')
  if (process.env['WRITE_SCORE'] === '1') writeFileSync(PAGE, await written(scores))
  t.equal(await written(scores), page(), 'docs/http-cache-tests.md says what was measured')
})
