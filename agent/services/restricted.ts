import { commandAs, findTool, setprivOf, type RunAsDeps } from '../process/run-as.js'
import type { Limits, ServiceSpec } from './spec.js'

/** Never looked up on the service's PATH, as with setpriv. */
const PRLIMIT_PATHS: readonly string[] = ['/usr/bin/prlimit', '/bin/prlimit']

const PRLIMIT_OPTIONS: Readonly<Record<keyof Limits, string>> = {
  openFiles: 'nofile',
  processes: 'nproc',
  addressSpaceBytes: 'as',
  coreBytes: 'core',
  fileSizeBytes: 'fsize',
}

/**
 * The command of a service as its user, without new privileges and within its limits. Each of the programs in
 * front replaces itself by the next, so pid and exit code are the command's.
 *
 * @throws SwitchUserError when its user cannot be taken on, or what the restrictions need is not installed.
 */
export function restricted(spec: ServiceSpec, deps: RunAsDeps): readonly [string, ...string[]] {
  const { user, noNewPrivs = false, limits = {} } = spec
  let { command } = spec
  if (noNewPrivs) command = [setprivOf(spec.name, deps), '--no-new-privs', '--', ...command]
  if (user !== undefined) command = commandAs(user, command, deps)
  const options = Object.entries(PRLIMIT_OPTIONS).flatMap(([name, option]) => {
    const value = limits[name as keyof Limits]
    return value === undefined ? [] : [`--${option}=${value}:${value}`]
  })
  if (options.length === 0) return command
  // Outermost: the address space and the number of files hold for what switches the user as well.
  return [findTool('prlimit', spec.name, PRLIMIT_PATHS), ...options, '--', ...command]
}
