import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { SandboxError } from './errors.js'

/** Exit code that says that the program was never started; the program itself has other ones. */
const SETUP_FAILED = 125
/** Brings loopback up, puts the hosts file in place and becomes the program. */
const SETUP = `ip link set lo up && mount --bind "$1" /etc/hosts || exit ${SETUP_FAILED}; shift; exec "$@"`

export interface SandboxOptions {
  readonly command: readonly string[]
  readonly hosts: string
  readonly env: NodeJS.ProcessEnv
}

/**
 * Runs `command` where there is no network but a loopback with all ports free, and where `hosts` is the hosts
 * file: every peer resolves names as it always does. Resolves with the exit code; SIGINT and SIGTERM are passed
 * on.
 *
 * @throws SandboxError without root, where users may not make namespaces of their own.
 */
export async function runInSandbox({ command, hosts, env }: SandboxOptions): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'discobot-bench-hosts-'))
  try {
    const file = join(folder, 'hosts')
    await writeFile(file, hosts)
    const asUser = process.getuid?.() === 0 ? [] : ['--map-root-user']
    const code = await run(['--mount', '--net', ...asUser, 'sh', '-c', SETUP, 'sh', file, ...command], env)
    if (code === SETUP_FAILED) throw new SandboxError('cannot set up loopback and hosts: see above')
    return code
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

function run(args: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  const child = spawn('unshare', args, { stdio: 'inherit', env })
  const passOn = (signal: NodeJS.Signals): void => void child.kill(signal)
  process.on('SIGTERM', passOn)
  // The terminal sends Ctrl-C to the child too; sent twice it is still only one.
  process.on('SIGINT', passOn)
  return new Promise((resolve, reject) => {
    child.once('error', (error) =>
      reject(new SandboxError(`cannot run unshare (util-linux): ${error.message}`, { cause: error })),
    )
    child.once('exit', (code, signal) => {
      process.off('SIGTERM', passOn)
      process.off('SIGINT', passOn)
      // unshare ends with 1 when the kernel refuses; it has said why.
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]))
    })
  })
}
