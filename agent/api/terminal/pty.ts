import { spawn, type ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { closeSync, constants, existsSync, openSync } from 'node:fs'
import type { Readable } from 'node:stream'
import { ReadStream } from 'node:tty'
import { reasonOf } from '../../../base/errors.js'
import type { ServiceGroup } from '../../cgroups/service-group.js'
import { sendSignal } from '../../process/send-signal.js'
import { COMMAND_VARIABLE, endMarked, type CommandEnd } from '../command/command.js'
import { MasterInput } from './master-input.js'
import { loadTerminalCalls, type TerminalCalls } from './terminal-calls.js'
import { TerminalError } from './terminal-error.js'

export interface PtySpec {
  readonly argv: readonly [string, ...string[]]
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
  readonly cols: number
  readonly rows: number
  /** As for commands. */
  readonly groups?: ServiceGroup
}

/** A program in a terminal of its own, which is the controlling one of its session. */
export interface Pty {
  /** Ends with the error EIO when the last program has closed the terminal (pty(7)). */
  readonly output: Readable
  /** When the program itself has ended. */
  readonly ended: Promise<CommandEnd>
  /** Resolves when the terminal has taken it. */
  write(bytes: Buffer): Promise<void>
  resize(cols: number, rows: number): void
  /** Hangs up and ends everything that runs in it: SIGHUP and SIGTERM, a second, SIGKILL. */
  end(): Promise<void>
  /** Gives the terminal back. Nothing may be done with it afterwards. */
  close(): Promise<void>
}

/** util-linux; it makes the terminal the controlling one, which Node cannot, and becomes the program. */
const SETSID_PATHS: readonly string[] = ['/usr/bin/setsid', '/bin/setsid']

/** @throws TerminalError */
export async function openPty(spec: PtySpec): Promise<Pty> {
  const calls = await loadTerminalCalls()
  const setsid = SETSID_PATHS.find((path) => existsSync(path))
  if (setsid === undefined) throw new TerminalError("cannot open a terminal: util-linux's setsid is missing")
  const master = openMaster()
  const marker = randomUUID()
  const group = spec.groups?.below(`command-${marker}`)
  let child: ChildProcess
  try {
    child = await spawnInside(calls, master, setsid, spec, marker, group)
  } catch (error) {
    closeSync(master)
    group?.remove()
    throw error instanceof TerminalError
      ? error
      : new TerminalError(`cannot open a terminal: ${reasonOf(error)}`, { cause: error })
  }
  const { pid = 0 } = child
  const output = new ReadStream(master)
  const input = new MasterInput(master)
  let closed = false
  let ending: Promise<void> | undefined
  return {
    output,
    ended: new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal }))),
    write: (bytes) => input.write(bytes),
    resize: (cols, rows) => {
      if (!closed) calls.resize(master, cols, rows)
    },
    end: () => {
      // A shell that is hung up tells its jobs, and ends; SIGTERM it would ignore.
      if (ending === undefined) sendSignal(-pid, 'SIGHUP')
      return (ending ??= endMarked(pid, marker, group))
    },
    close: async () => {
      closed = true
      await input.close()
      output.destroy()
    },
  }
}

function openMaster(): number {
  try {
    return openSync('/dev/ptmx', constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK)
  } catch (error) {
    throw new TerminalError(`cannot open a terminal: ${reasonOf(error)}`, { cause: error })
  }
}

async function spawnInside(
  calls: TerminalCalls,
  master: number,
  setsid: string,
  { argv, cwd, env, cols, rows }: PtySpec,
  marker: string,
  group: ServiceGroup | undefined,
): Promise<ChildProcess> {
  const inTerminal = [setsid, '--ctty', ...argv] as const
  const [program, ...args] = group?.within(inTerminal, env['PATH'] ?? '', cwd) ?? inTerminal
  const number = calls.unlock(master)
  calls.resize(master, cols, rows)
  const slave = openSync(`/dev/pts/${number}`, constants.O_RDWR | constants.O_NOCTTY)
  try {
    return await new Promise((resolve, reject) => {
      const child = spawn(program, args, {
        cwd,
        env: { ...env, [COMMAND_VARIABLE]: marker },
        stdio: [slave, slave, slave],
      })
      child.once('error', reject)
      child.once('spawn', () => resolve(child))
    })
  } finally {
    // The program has it now. While we had it too, its end would not show.
    closeSync(slave)
  }
}
