/**
 * Run by reaper.test as process 1 of a namespace, or as a subreaper: makes orphans and own short-lived
 * children at once, and prints what became of them as JSON. Arguments: `reaping` or `without-native`, the number
 * of orphans, and that of own children.
 */
import { silentLogger } from '../../../base/log/logger.js'
import { ChildRegistry } from '../children.js'
import { systemClock } from '../clock.js'
import { loadNativeCalls } from '../native.js'
import { directChildren, readStat } from '../proc-stat.js'
import { startReaper } from '../reaper.js'
import { keepHeapSmall } from '../../../base/process/small-heap.js'
import { waitFor } from '../../../test/lab/service-lab.js'

const [, , how, orphans = '200', ownChildren = '200'] = process.argv
const ORPHANS = Number(orphans)
const OWN = Number(ownChildren)
const withoutReaping = how === 'without-native'

keepHeapSmall()
const children = new ChildRegistry()
const native = await loadNativeCalls()
const reaper = startReaper({
  children,
  clock: systemClock,
  logger: silentLogger,
  subreaper: true,
  loadNative: () =>
    Promise.resolve(
      withoutReaping ? { ...native, name: 'none', reason: 'not today', reap: () => false } : native,
    ),
})
if (process.pid !== 1) await waitFor('the backend', () => reaper.status().backend !== 'not needed yet')

function own(code: number): Promise<boolean> {
  return new Promise((resolve) => {
    const child = children.spawn('/bin/sh', ['-c', `exit ${code}`], { stdio: 'ignore' })
    child.on('error', () => resolve(false))
    child.on('exit', (got) => resolve(got === code))
  })
}

// All of them wait for the pipe's other end, which their parent takes along when it ends: they die at once.
const makeOrphans = `pipe(R, W); for (1..${ORPHANS}) { if (!fork) { close W; <R>; exit 3 } } sleep 1`
const factory = children.spawn('perl', ['-e', makeOrphans], { stdio: 'ignore' })
const orphansMade = new Promise((resolve) => factory.on('exit', resolve))
const codes = await Promise.all(Array.from({ length: OWN }, (_, index) => own(index % 256)))
await orphansMade

const stateOf = (pid: number): string | undefined => readStat(pid)?.state
const countLiving = (): number => directChildren().filter((pid) => stateOf(pid) !== 'Z').length
const countZombies = (): number => directChildren().filter((pid) => stateOf(pid) === 'Z').length
await waitFor('the orphans to die', () => countLiving() === 0)
const zombiesAtFirst = countZombies()
const diedAt = performance.now()
if (withoutReaping) await waitFor('zombies to be counted', () => reaper.status().zombies === ORPHANS)
else await waitFor('no zombies', () => countZombies() === 0)
const report = {
  pid: process.pid,
  zombiesAtFirst,
  goneAfterMs: Math.round(performance.now() - diedAt),
  rightCodes: codes.filter(Boolean).length,
  status: reaper.status(),
}
reaper.stop()
process.stdout.write(JSON.stringify(report))
