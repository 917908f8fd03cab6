import { chmodSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { silentLogger } from '../../../base/log/logger.js'
import { ChildRegistry } from '../../process/children.js'
import { systemClock } from '../../process/clock.js'
import { describeEnd, exitCodeOf, failureExitCode, type ProcessEnd } from '../../process/exit-code.js'
import { ServiceProcess } from '../process.js'
import type { ServiceSpec } from '../spec.js'
import { shell } from '../../../test/lab/service-lab.js'

const deps = { children: new ChildRegistry(), clock: systemClock, logger: silentLogger }

function endOf(spec: ServiceSpec): Promise<ProcessEnd> {
  return new ServiceProcess(spec, 'exit-code-test', deps).ended
}

t.test('a process that exits gives its own code, 0 to 255', async (t) => {
  for (let from = 0; from < 256; from += 32) {
    const codes = Array.from({ length: 32 }, (_, index) => from + index)
    const got = await Promise.all(codes.map((code) => endOf(shell('exits', `exit ${code}`))))
    t.strictSame(got.map(exitCodeOf), codes)
  }
})

t.test('a process that dies of signal n gives 128+n', async (t) => {
  const signals = [
    'SIGHUP',
    'SIGINT',
    'SIGQUIT',
    'SIGABRT',
    'SIGKILL',
    'SIGSEGV',
    'SIGPIPE',
    'SIGALRM',
    'SIGTERM',
  ] as const
  for (const signal of signals) {
    const number = constants.signals[signal]
    const end = await endOf(shell('dies', `ulimit -c 0; kill -${number} $$`))
    t.strictSame(
      [end, exitCodeOf(end), describeEnd(end)],
      [{ kind: 'signalled', signal }, 128 + number, signal],
    )
  }
})

t.test('what cannot be run gives 126, what is not there 127, and the reason says which', async (t) => {
  const folder = t.testdir({ data: 'no program', script: '#!/no/such/interpreter\n' })
  const data = join(folder, 'data')
  const script = join(folder, 'script')
  chmodSync(script, 0o755)
  const cases: readonly (readonly [string, Partial<ServiceSpec>, number, string])[] = [
    ['not executable', { command: [data] }, 126, `${data} is not executable`],
    ['a folder', { command: [folder] }, 126, `${folder} is not executable`],
    ['not there', { command: ['/no/such/program'] }, 127, '/no/such/program is not found'],
    ['not on the PATH', { command: ['no-such-program'] }, 127, 'no-such-program is not found'],
    ['no interpreter', { command: [script] }, 127, `the interpreter of ${script} is not found`],
    ['no folder to run in', { cwd: '/no/such/folder' }, 127, 'the folder /no/such/folder does not exist'],
    [
      'an impossible argument',
      { command: ['/bin/true', 'a\0b'] },
      126,
      'must be a string without null bytes',
    ],
  ]
  for (const [what, more, code, reason] of cases) {
    const end = await endOf(shell('broken', 'exit 0', more))
    t.equal(exitCodeOf(end), code, what)
    t.match(describeEnd(end), reason)
  }
})

t.test('a failed service never ends the container with 0', async (t) => {
  t.equal(failureExitCode({ kind: 'exited', code: 7 }), 7)
  t.equal(failureExitCode({ kind: 'signalled', signal: 'SIGKILL' }), 137)
  t.equal(failureExitCode({ kind: 'exited', code: 0 }), 1)
  t.equal(failureExitCode(undefined), 1)
})
