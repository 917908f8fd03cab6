import { spawn, type ChildProcess } from 'node:child_process'
import { accessSync, constants, mkdirSync, mkdtempSync, readFileSync, rmdirSync, statSync } from 'node:fs'
import { constants as osConstants, tmpdir } from 'node:os'
import { basename, delimiter, join } from 'node:path'
import { createInterface } from 'node:readline'
import { Readable, type Writable } from 'node:stream'
import { codeOf, DiscobotError, reasonOf } from '../../base/errors.js'
import type { Logger } from '../../base/log/logger.js'
import { newCgroup, removeCgroup } from './cgroup.js'
import { machineMounts } from './mounts.js'
import { attachOutsideNetwork, type OutsideNetwork } from './outside-network.js'

class IsolateError extends DiscobotError {
  readonly code = 'ISOLATE_FAILED'
}

interface IsolateOptions {
  /** Becomes process 1. */
  readonly command: readonly [string, ...string[]]
  /** Its whole environment. */
  readonly env: Readonly<Record<string, string>>
  /** Folder of this machine that is `/.data` inside; made when missing. */
  readonly dataDir: string
  /** Absolute paths of this machine to be seen inside unchanged and read-only, even below `/tmp`. */
  readonly readOnly: readonly string[]
  readonly hostname: string
  /** `outside`: through slirp4netns where that is installed; `loopback`: nothing leaves. */
  readonly network: 'outside' | 'loopback'
  /** `pipe` makes `stdout` and `stderr` of the result readable. */
  readonly output: 'inherit' | 'pipe'
  /** Shell text run as root inside, before process 1's program starts. For tests. */
  readonly prepare?: string
  readonly logger: Logger
}

export interface Isolated {
  /** Of the inner process 1, as this machine numbers it. */
  readonly pid: number
  readonly stdout: Readable
  readonly stderr: Readable
  /** The inner process 1's exit code, 128+n after a signal; by then nothing runs or is mounted any more. */
  readonly exited: Promise<number>
  /** Sends to the inner process 1; nothing happens once it has ended. */
  signal(name: NodeJS.Signals): void
}

const NEEDED = ['setpriv', 'unshare', 'ip', 'mount', 'umount', 'pivot_root']

/**
 * Starts `command` as a real process 1 in pid, mount, net, uts and ipc namespaces of its own, over a throw-away
 * copy-on-write view of this machine's files. Resolves when the command is about to run.
 *
 * @throws IsolateError without root, without the programs it needs, or when the kernel refuses a step.
 */
export async function isolate(options: IsolateOptions): Promise<Isolated> {
  requireRootAndPrograms(options.env['PATH'] ?? '')
  mkdirSync(options.dataDir, { recursive: true })
  const scratch = mkdtempSync(join(tmpdir(), `discobot-isolate-${process.pid}-`))
  const cgroup = newCgroup(basename(scratch))
  const child = start(options, scratch, cgroup)
  const setup = openSetupChannel(child)
  const ended = endOf(child)
  let pid: number | undefined
  let network: OutsideNetwork | undefined
  const exited = ended.code.then(async (code) => {
    await network?.stop()
    removeEmpty(scratch)
    if (cgroup !== undefined) removeCgroup(cgroup)
    return code
  })
  try {
    pid = await setup.pid
    if (options.network === 'outside')
      network = await attachOutsideNetwork(pid, options.env['PATH'] ?? '', options.logger)
    setup.go(network?.nameserver)
    await setup.ready
  } catch (error) {
    // The inner one if there is one: the shell that waits for it then ends when all is gone, not before.
    if (pid === undefined) child.kill('SIGKILL')
    else if (!ended.seen()) sendTo(pid, 'SIGKILL')
    await exited
    throw new IsolateError(`cannot isolate: ${reasonOf(error)}`, { cause: error })
  }
  // Its mount has moved with the new root: the folder is an ordinary one again.
  removeEmpty(scratch)
  const inner = pid
  return {
    pid: inner,
    stdout: child.stdout ?? Readable.from([]),
    stderr: child.stderr ?? Readable.from([]),
    exited,
    signal: (name) => {
      if (!ended.seen()) sendTo(inner, name)
    },
  }
}

function requireRootAndPrograms(path: string): void {
  if (process.platform !== 'linux') throw new IsolateError('cannot isolate: it needs Linux namespaces')
  if (process.getuid?.() !== 0) {
    throw new IsolateError(
      'cannot isolate: namespaces and mounts need root; run it with sudo, or leave out --isolate',
    )
  }
  const missing = NEEDED.filter(
    (program) => !path.split(delimiter).some((dir) => isExecutable(join(dir, program))),
  )
  if (missing.length > 0) {
    throw new IsolateError(
      `cannot isolate: ${missing.join(', ')} not found on PATH (Debian packages util-linux and iproute2)`,
    )
  }
}

function start(options: IsolateOptions, scratch: string, cgroup: string | undefined): ChildProcess {
  const mounts = machineMounts(
    readFileSync('/proc/self/mountinfo', 'utf8'),
    (path) => statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false,
    (path) => statSync(path, { throwIfNoEntry: false })?.isFile() ?? false,
  )
  const namespaces = ['unshare', '--pid', '--mount', '--net', '--uts', '--ipc']
  const setup = ['/bin/sh', '-c', FIRST_CHILD, 'discobot-isolate']
  // The outer shell joins the new group before unshare makes that the top of a cgroup namespace.
  const entered =
    cgroup === undefined
      ? [...namespaces, ...setup]
      : ['/bin/sh', '-c', JOIN_CGROUP, cgroup, ...namespaces, '--cgroup', ...setup]
  return spawn('setpriv', ['--pdeathsig', 'KILL', ...entered, ...options.command], {
    env: {
      ...options.env,
      ISOLATE_SETUP: readFileSync(new URL('./setup.sh', import.meta.url), 'utf8'),
      ISOLATE_SCRATCH: scratch,
      ISOLATE_DATA: options.dataDir,
      ISOLATE_HOSTNAME: options.hostname,
      ISOLATE_OVERLAYS: mounts.overlays.join('\n'),
      ISOLATE_COPIES: mounts.copies.join('\n'),
      ISOLATE_READONLY: options.readOnly.filter((path) => !path.includes('\n')).join('\n'),
      ISOLATE_PREPARE: options.prepare ?? '',
    },
    stdio: ['ignore', options.output, options.output, 'pipe', 'pipe'],
    // A session of its own, or the terminal's Ctrl-C would reach process 1 twice: once by itself, once by us.
    detached: true,
  })
}

/**
 * The first child of whoever unshared the pid namespace becomes its process 1. Not `unshare --fork`: that of
 * util-linux 2.38 turns every death by a signal into the exit code 1.
 */
const FIRST_CHILD = 'setpriv --pdeathsig KILL /bin/sh -c "$ISOLATE_SETUP" "$0" "$@"; exit $?'

const JOIN_CGROUP = '{ mkdir "$0" && echo $$ >"$0/cgroup.procs"; } 2>/dev/null || :; exec "$@"'

interface SetupChannel {
  readonly pid: Promise<number>
  readonly ready: Promise<string>
  /** Lets the setup go on, once the network is there. */
  go(nameserver: string | undefined): void
}

/** The two descriptors that `setup.sh` speaks on. */
function openSetupChannel(child: ChildProcess): SetupChannel {
  const report = child.stdio[3] as Readable
  const permit = child.stdio[4] as Writable
  // Both break when the child ends early, and the end of the report says that already.
  report.on('error', () => {})
  permit.on('error', () => {})
  const complaints: string[] = []
  const lines = createInterface({ input: report })
  const until = <T>(match: (line: string) => T | undefined): Promise<T> => {
    const found = new Promise<T>((resolve, reject) => {
      lines.on('line', (line) => {
        const value = match(line)
        if (value !== undefined) resolve(value)
      })
      // The shell that waits for process 1 holds the other end as long as it lives.
      lines.once('close', () =>
        reject(new Error(complaints.join('; ') || 'the namespaces could not be set up')),
      )
      child.once('error', reject)
    })
    // When the first of the two promises fails nobody waits for the other.
    found.catch(() => {})
    return found
  }
  lines.on('line', (line) => {
    if (!/^(pid \d+|ready)$/.test(line)) complaints.push(line)
  })
  return {
    pid: until((line) => (line.startsWith('pid ') ? Number(line.slice(4)) : undefined)),
    ready: until((line) => (line === 'ready' ? line : undefined)),
    go: (nameserver = '') => permit.end(`go ${nameserver}\n`),
  }
}

function endOf(child: ChildProcess): { readonly code: Promise<number>; seen(): boolean } {
  let seen = false
  const code = new Promise<number>((resolve) => {
    child.once('exit', (exitCode, signal) => {
      seen = true
      resolve(exitCode ?? 128 + (signal === null ? 0 : osConstants.signals[signal]))
    })
    child.once('error', () => resolve(127))
  })
  return { code, seen: () => seen }
}

/** It may be gone without our having heard yet: nothing is left to signal then. */
function sendTo(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if (codeOf(error) !== 'ESRCH') throw error
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Only ever an empty folder; while something is mounted on it the kernel refuses, and the exit tries again. */
function removeEmpty(folder: string): void {
  try {
    rmdirSync(folder)
  } catch {
    // Gone already, or not ours to force.
  }
}
