import { spawnSync } from 'node:child_process'
import { chmodSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const program = fileURLToPath(new URL('one-service.js', import.meta.url))
const NEEDS_ROOT = process.getuid?.() === 0 ? false : 'needs root for a pid namespace; CI has it'

const exiting = (code: number): string[] => ['/bin/sh', '-c', `exit ${code}`]
/** No core file, whatever the machine does with them. */
const dying = (signal: number): string[] => ['/bin/sh', '-c', `ulimit -c 0; kill -${signal} $$`]

function asProcessOne(commands: readonly (readonly string[])[]): { code: number | null; stdout: string } {
  const namespace = ['--pid', '--fork', '--mount-proc', '--kill-child']
  const args = [...namespace, process.execPath, program, JSON.stringify(commands)]
  const { status, stdout } = spawnSync('unshare', args, { encoding: 'utf8', timeout: 60_000 })
  return { code: status, stdout }
}

t.test("as process 1 a service's code is the container's, 0 to 255", { skip: NEEDS_ROOT }, async (t) => {
  const codes = Array.from({ length: 256 }, (_, code) => code)
  const { stdout } = asProcessOne(codes.map(exiting))
  t.strictSame(JSON.parse(stdout), { pid: 1, codes })
})

t.test('as process 1 a service that dies of signal n gives 128+n', { skip: NEEDS_ROOT }, async (t) => {
  const { SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT, SIGCHLD, SIGURG, SIGWINCH, ...deadly } =
    constants.signals
  t.ok(SIGSTOP + SIGTSTP + SIGTTIN + SIGTTOU + SIGCONT + SIGCHLD + SIGURG + SIGWINCH > 0)
  const signals = [...new Set(Object.values(deadly))]
  const { stdout } = asProcessOne(signals.map(dying))
  t.strictSame(JSON.parse(stdout), { pid: 1, codes: signals.map((signal) => 128 + signal) })
})

t.test('the numbers arrive outside, with 126 and 127 among them', { skip: NEEDS_ROOT }, async (t) => {
  const folder = t.testdir({ data: 'no program', script: '#!/no/such/interpreter\n' })
  chmodSync(join(folder, 'script'), 0o755)
  const table: readonly (readonly [number, readonly string[]])[] = [
    [0, exiting(0)],
    [1, exiting(1)],
    [42, exiting(42)],
    [255, exiting(255)],
    [126, [join(folder, 'data')]],
    [126, [folder]],
    [127, ['/no/such/program']],
    [127, [join(folder, 'script')]],
    [137, dying(9)],
    [143, dying(15)],
  ]
  for (const [code, command] of table) t.equal(asProcessOne([command]).code, code, command.join(' '))
})
