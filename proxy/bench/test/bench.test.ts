import { existsSync } from 'node:fs'
import { execPath } from 'node:process'
import t from 'tap'
import { PeerUnavailableError, UsageError } from '../stage/errors.js'
import { hostsFile } from '../stage/hosts.js'
import type { MetricName } from '../stage/metrics.js'
import { MEASURES } from '../stage/metrics.js'
import { parseOptions } from '../options.js'
import { PEER_NAMES, type PeerName } from '../peers/peer.js'
import { judge } from '../requirements.js'
import { median, Results } from '../results.js'
import { freePort, Stage } from '../stage/stage.js'
import { PLAIN, renderTable, renderVerdicts } from '../table.js'

t.test('the median is the middle, or the mean of the middle two', (t) => {
  t.equal(median([]), undefined)
  t.equal(median([3]), 3)
  t.equal(median([9, 1, 5]), 5)
  t.equal(median([4, 1, 2, 100]), 3)
  t.end()
})

t.test('each requirement is held against the right peer, and a gap is never a verdict', (t) => {
  const results = resultsOf({
    discobot: { hitRate: 800, smallHits: 4000, herdFetches: 1, firstByte: 12 },
    squid: { hitRate: 300, smallHits: 10_000, firstByte: 9 },
    nginx: { hitRate: 1100 },
  })
  const verdicts = judge('discobot', results.median.bind(results))
  const met = Object.fromEntries(verdicts.map(({ requirement, met }) => [requirement.text, met]))
  t.match(met, {
    'hits ≥ 0.75 × nginx direct': false,
    'hits ≥ 1.8 × squid': true,
    'small hits ≥ 0.5 × squid': false,
    'small hits ≥ 5 × stock': undefined,
    "first byte within 3 ms of squid's": true,
    '1 fetch for 50 pulls': true,
    'new host ≤ 6 ms': undefined,
  })
  t.end()
})

t.test('the table has a column for each peer that took part, ratios, and a dash for every gap', (t) => {
  const results = resultsOf({ discobot: { hitRate: 600, handshake: 4.25 }, squid: { hitRate: 300 } })
  const at = results.median.bind(results)
  const [head, hits, handshake, ...rest] = renderTable(at, PLAIN).split('\n')
  t.match(head, /discobot +squid +÷ squid +÷ nginx$/)
  t.match(hits, /^hit, 256 MiB +MB\/s +600 +300 +2\.00$/)
  t.match(handshake, /ms +4\.\d +–$/)
  t.same(rest, [])
  t.match(renderVerdicts(at, PLAIN), /met +hits ≥ 1\.8 × squid +600 of at least 540 MB\/s/)
  t.end()
})

t.test('--only takes peers and measures, and all of a kind that is not named', (t) => {
  t.match(parseOptions([]), { rounds: 5, peers: PEER_NAMES, measures: MEASURES })
  t.match(parseOptions(['--only', 'squid,hit', '--only', 'discobot', '--rounds', '1']), {
    rounds: 1,
    peers: ['discobot', 'squid'],
    measures: ['hit'],
  })
  t.same(parseOptions(['--only', 'nginx']).measures, MEASURES)
  for (const wrong of [['--only', 'varnish'], ['--rounds', '0'], ['--rounds', 'x'], ['--speed']]) {
    t.throws(() => parseOptions(wrong), UsageError, wrong.join(' '))
  }
  t.end()
})

t.test('the hosts file leads every name to loopback', (t) => {
  const lines = hostsFile(2).trimEnd().split('\n')
  t.ok(lines.every((line) => line.startsWith('127.0.0.1 ')))
  t.ok(lines.includes('127.0.0.1 new-1.bench.test'))
  t.end()
})

t.test('a stage starts what listens, says why something does not, and leaves nothing', async (t) => {
  const stage = await Stage.open()
  const port = await freePort()
  const serve = `require('net').createServer().listen(${port}, '127.0.0.1')`
  const { pid } = await stage.start({ name: 'good', command: [execPath, '-e', serve], env: {}, port })
  t.ok(isAlive(pid))
  const bad = {
    command: [execPath, '-e', 'throw new Error("no cheese")'],
    env: {},
    port: await freePort(),
  } as const
  await t.rejects(stage.start({ name: 'bad', ...bad }), PeerUnavailableError)
  await t.rejects(stage.start({ name: 'bad', ...bad }), /cannot start bad: it ended with code 1[^]*no cheese/)
  await t.rejects(
    stage.start({ name: 'none', command: ['/nonexistent/program'], env: {}, port: bad.port }),
    /cannot start none: .*ENOENT/,
  )
  await stage.clear()
  t.notOk(isAlive(pid))
  t.notOk(existsSync(stage.folder))
})

function resultsOf(figures: Partial<Record<PeerName, Partial<Record<MetricName, number>>>>): Results {
  const results = new Results()
  for (const peer of PEER_NAMES) {
    for (const [metric, value] of Object.entries(figures[peer] ?? {})) {
      results.add(peer, metric as MetricName, value)
    }
  }
  return results
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
