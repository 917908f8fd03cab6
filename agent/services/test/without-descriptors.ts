/**
 * Run by hostile-services.test with few descriptors to be had: uses up all of them, starts a service, and prints what
 * became of it.
 */
import { closeSync, openSync } from 'node:fs'
import { codeOf, reasonOf } from '../../../base/errors.js'
import { silentLogger } from '../../../base/log/logger.js'
import { ChildRegistry } from '../../process/children.js'
import { systemClock } from '../../process/clock.js'
import { Faults } from '../../process/faults.js'
import { Supervisor } from '../supervisor.js'
import { shell } from '../../../test/lab/service-lab.js'

const faults = new Faults(silentLogger)
const supervisor = new Supervisor({
  logger: silentLogger,
  clock: systemClock,
  children: new ChildRegistry(),
  onEssentialFailure: () => undefined,
  faults,
})
supervisor.add(shell('late', 'exec sleep 60'))
const taken: number[] = []
try {
  for (;;) taken.push(openSync('/dev/null', 'r'))
} catch {
  // Now there is none left.
}
const outcome = await supervisor.start('late').then(
  () => ({ code: 'started', message: '' }),
  (error: unknown) => ({ code: codeOf(error), message: reasonOf(error) }),
)
for (const descriptor of taken) closeSync(descriptor)
await supervisor.stopAll({ deadlineMs: 1_000 })
process.stdout.write(JSON.stringify({ ...outcome, faults: faults.count }))
