import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { textWidth } from '../../../base/cli/text-width.js'
import { describeCache } from '../cache-command.js'
import { folder, json, launch, start } from '../../../test/lab/program.js'

// `cache` shows the figures of the proxy that runs, fits the terminal, and obeys nothing that clients have asked for.

const FIGURES = { hits: 0, misses: 0, entries: 0, bytes_served: 0, bytes_fetched: 0, current_size: 0 }
const LONG_RULE = 'a-rule-whose-name-somebody-has-made-much-too-long-for-a-narrow-terminal'
const STATS = {
  hits: 30,
  misses: 10,
  hit_rate: 0.75,
  current_size: 5_000_000,
  rules: {
    npm: { ...FIGURES, hits: 20, misses: 5, entries: 3, bytes_served: 9_000_000, bytes_fetched: 2_000_000 },
    [LONG_RULE]: { ...FIGURES, hits: 10, misses: 5, entries: 1, bytes_served: 99_000_000 },
    unused: FIGURES,
  },
}
const ENTRIES = [
  { size: 10, key: 'GET http://tiny.test/' },
  { size: 4_000_000, key: `GET https://registry.test/${'path/'.repeat(20)}\u001b[31mred.tgz` },
]

async function api(t: Test): Promise<number> {
  const server = createServer((request, response) => {
    const found = request.url === '/api/cache/stats' ? STATS : { entries: ENTRIES }
    response.end(JSON.stringify(found))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

void t.test('figures at every width', async (t) => {
  const apiPort = await api(t)
  for (const columns of [60, 80, 160]) {
    const shown = await describeCache({ apiPort, json: false }, { columns, colour: true })
    for (const line of shown.split('\n')) t.ok(textWidth(line) <= columns, `${columns}: ${line}`)
    t.match(shown, /^hit rate +75\.0 %: 30 hits, 10 misses/)
    t.match(
      shown,
      /^a-rule.*…?.*terminal +66\.7 % +10 +5 +99\.0 MB/m,
      'the largest saving first, no figure cut',
    )
    t.match(shown, /^npm +80\.0 % +20 +5 +7\.0 MB/m)
    t.notMatch(shown, /unused|\u001b/)
    t.match(
      shown,
      /SIZE {2}LARGEST\n *4\.0 MB {2}GET https:\/\/registry.*red\.tgz\n *10 B {2}GET http:\/\/tiny/,
    )
  }
  const piped = await describeCache({ apiPort, json: false }, { columns: Infinity, colour: false })
  t.match(piped, LONG_RULE, 'what a program reads is whole')
  t.match(piped, 'path/'.repeat(20))
  t.strictSame(
    JSON.parse(await describeCache({ apiPort, json: true }, { columns: 20, colour: false })),
    STATS,
  )
})

void t.test('of a proxy that runs, and of none', async (t) => {
  const dir = folder(t)
  const program = await start(t, dir, {})
  const asked = launch(t, ['cache', '--api-port', String(program.apiPort), '--json'], {
    DISCOBOT_DATA_DIR: dir,
  })
  t.equal(await asked.ended(), 0)
  t.strictSame(JSON.parse(asked.log()), await json(`http://127.0.0.1:${program.apiPort}/api/cache/stats`))
  program.process.kill('SIGTERM')
  t.equal(await program.ended(), 0)
  const none = launch(t, ['cache', '--api-port', String(program.apiPort)], { DISCOBOT_DATA_DIR: dir })
  t.equal(await none.ended(), 1)
  t.match(none.log(), /^discobot-proxy: cannot ask the proxy: no proxy answers on .*--api-port\n$/)
})
