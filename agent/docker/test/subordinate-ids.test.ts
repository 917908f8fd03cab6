import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { giveSubordinateIds, innerId, withSubordinateIds } from '../rootless/subordinate-ids.js'
import { shortFolder } from '../../../test/lab/service-lab.js'

// The engine's containers have ids that are nobody else's, and that of the workspace's user, which is the same inside.

interface Range {
  readonly inside: number
  readonly outside: number
  readonly count: number
}

/** As newuidmap is told by rootlesskit: 0 is the account, and the lines follow from 1 on. */
function mapOf(text: string, account = 'engine'): Range[] {
  let inside = 1
  return text
    .split('\n')
    .filter((line) => line.startsWith(`${account}:`))
    .map((line) => {
      const [, outside, count] = line.split(':').map(Number)
      const range = { inside, outside: outside ?? 0, count: count ?? 0 }
      inside += range.count
      return range
    })
}

function outsideOf(map: readonly Range[], id: number): number | undefined {
  const found = map.find(({ inside, count }) => id >= inside && id < inside + count)
  return found && found.outside + id - found.inside
}

void t.test('every id is there once, and is the same for the user alone', (t) => {
  for (const same of [0, 1, 2, 999, 1000, 65_535, 65_536, 65_537, 100_500, 1_000_000]) {
    const map = mapOf(withSubordinateIds('', 'engine', same))
    const outside = map.flatMap(({ outside: from, count }) => [from, from + count - 1])
    const taken = map.reduce<readonly Range[]>((seen, range) => {
      for (const one of seen)
        t.ok(
          range.outside >= one.outside + one.count || one.outside >= range.outside + range.count,
          `${same}`,
        )
      return [...seen, range]
    }, [])
    t.ok(taken.every(({ count }) => count > 0))
    t.notOk(outside.includes(0), 'never root')
    t.ok(
      map.every(({ outside: from }) => from >= 100_000 || from === same),
      'nor an account of the system',
    )
    if (same !== 0) t.equal(outsideOf(map, innerId(same)), same)
    // Debian's and Alpine's images use ids up to there.
    for (const id of [1, 33, 1000, 65_534]) t.ok(outsideOf(map, id) !== undefined, `${id} of ${same}`)
  }
  t.equal(innerId(1000), 1000)
  t.end()
})

void t.test('the ids of others are left to them, and what is right stays as it is', (t) => {
  const others = 'discobot:100000:65536\nops:300000:65536\n'
  const text = withSubordinateIds(others, 'engine', 1000)
  t.ok(text.startsWith(others))
  t.ok(mapOf(text).every(({ outside }) => outside >= 365_536 || outside === 1000))
  t.equal(withSubordinateIds(text, 'engine', 1000), text, 'a second start changes nothing')

  const moved = withSubordinateIds(text, 'engine', 1001)
  t.equal(outsideOf(mapOf(moved), 1001), 1001, 'the user has another number')
  t.equal(outsideOf(mapOf(moved), 500), outsideOf(mapOf(text), 500), 'files of images keep their owners')
  t.equal(outsideOf(mapOf(moved), 2000), outsideOf(mapOf(text), 2000))

  const clash = withSubordinateIds(`engine:100000:65536\nlate:120000:10\n`, 'engine', 1000)
  t.ok(
    mapOf(clash).every(({ outside }) => outside >= 120_010 || outside === 1000),
    'two may not share one',
  )
  t.end()
})

void t.test('both files are written, each for its own number', async (t) => {
  const root = shortFolder(t)
  mkdirSync(join(root, 'etc'))
  writeFileSync(join(root, 'etc/subuid'), '# by hand\nops:100000:65536\n')
  await giveSubordinateIds('engine', { uid: 1000, gid: 1005 }, root)
  const read = (name: string): string => readFileSync(join(root, 'etc', name), 'utf8')
  t.equal(
    read('subuid'),
    '# by hand\nops:100000:65536\nengine:165536:999\nengine:1000:1\nengine:166536:64536\n',
  )
  t.equal(read('subgid'), 'engine:100000:1004\nengine:1005:1\nengine:101005:64531\n')
  t.equal(statSync(join(root, 'etc/subgid')).mode & 0o777, 0o644)
  const before = statSync(join(root, 'etc/subuid')).ino
  await giveSubordinateIds('engine', { uid: 1000, gid: 1005 }, root)
  t.equal(statSync(join(root, 'etc/subuid')).ino, before, 'not written again')
})
