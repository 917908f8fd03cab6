/**
 * Run by exit-code-process-one.test as process 1 of a namespace: one essential service after the other, and what
 * the container would end with because of it. Arguments: the commands as JSON. With a single one, it ends so.
 */
import { silentLogger } from '../../../base/log/logger.js'
import { ChildRegistry } from '../../process/children.js'
import { systemClock } from '../../process/clock.js'
import { startReaper } from '../../process/reaper.js'
import { Supervisor } from '../supervisor.js'
import { shell } from '../../../test/lab/service-lab.js'

const commands = JSON.parse(process.argv[2] ?? '[]') as [string, ...string[]][]
const children = new ChildRegistry()
const reaper = startReaper({ children, clock: systemClock, logger: silentLogger, subreaper: false })

function exitCodeAfter(command: readonly [string, ...string[]]): Promise<number> {
  return new Promise((resolve) => {
    const supervisor = new Supervisor({
      logger: silentLogger,
      clock: systemClock,
      children,
      onEssentialFailure: ({ exitCode }) => resolve(exitCode),
    })
    supervisor.add(shell('main', '', { command, essential: true }))
    // That it does not come up is what is asked for here.
    supervisor.start('main').catch(() => undefined)
  })
}

const codes: number[] = []
for (const command of commands) codes.push(await exitCodeAfter(command))
reaper.stop()
if (codes.length === 1) process.exit(codes[0])
process.stdout.write(JSON.stringify({ pid: process.pid, codes }))
