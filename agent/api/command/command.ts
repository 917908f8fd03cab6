import { spawn, type ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import type { Readable } from 'node:stream'
import { DiscobotError, codeOf, reasonOf } from '../../../base/errors.js'
import type { ServiceGroup } from '../../cgroups/service-group.js'
import { systemClock } from '../../process/clock.js'
import { sendSignal } from '../../process/send-signal.js'
import { findMarked, killStragglers } from '../../process/stragglers.js'

/** The command could not be started at all. */
export class CommandStartError extends DiscobotError {
  readonly code = 'API_COMMAND_NOT_STARTED'
}

/** Everything a command starts inherits it, also what leaves its process group. */
export const COMMAND_VARIABLE = 'DISCOBOT_COMMAND'

const NEVER = new AbortController().signal
/** A group that is left is empty, and goes with the agent API's own. */
const REMOVE_ROUNDS = 20
const REMOVE_MS = 10

interface CommandSpec {
  readonly argv: readonly [string, ...string[]]
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
  /** Absent: `/dev/null`. */
  readonly stdin?: Buffer
  /** Where the group of all it starts is to be; absent where there are none, or it starts nothing that stays. */
  readonly groups?: ServiceGroup
}

export interface CommandEnd {
  /** null when a signal ended it. */
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** A command that runs, in a session and process group of its own. */
export interface Command {
  readonly stdout: Readable
  readonly stderr: Readable
  /** When the command itself has ended; what it has started may still run. */
  readonly ended: Promise<CommandEnd>
  /** Ends it and all it has started: SIGTERM, a second, SIGKILL. Resolves when nothing is left. */
  end(): Promise<void>
}

/** @throws CommandStartError when there is no such program, or it cannot be run. */
export async function startCommand(spec: CommandSpec): Promise<Command> {
  const marker = randomUUID()
  const group = spec.groups?.below(`command-${marker}`)
  const child = await spawnMarked(spec, marker, group)
  const { pid, stdout, stderr, stdin } = child
  if (pid === undefined || stdout === null || stderr === null)
    throw new CommandStartError(`cannot run ${spec.argv[0]}: it has no pipes`)
  const ended = new Promise<CommandEnd>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }))
  })
  // A command need not read what it is given.
  stdin?.on('error', () => {})
  stdin?.end(spec.stdin)
  let ending: Promise<void> | undefined
  return { stdout, stderr, ended, end: () => (ending ??= endMarked(pid, marker, group)) }
}

function spawnMarked(
  { argv, cwd, env, stdin }: CommandSpec,
  marker: string,
  group: ServiceGroup | undefined,
): Promise<ChildProcess> {
  const [program, ...args] = group?.within(argv, env['PATH'] ?? '', cwd) ?? argv
  return new Promise((resolve, reject) => {
    const fail = (error: unknown): void => {
      group?.remove()
      reject(notStarted(argv[0], error))
    }
    try {
      const child = spawn(program, args, {
        cwd,
        env: { ...env, [COMMAND_VARIABLE]: marker },
        detached: true,
        stdio: [stdin === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      })
      // When a command has ended, Node throws away what nobody has begun to read.
      for (const pipe of [child.stdout, child.stderr]) pipe?.on('readable', () => {})
      child.once('error', fail)
      child.once('spawn', () => resolve(child))
    } catch (error) {
      // Some errors, E2BIG among them, are thrown.
      fail(error)
    }
  })
}

/**
 * The process group is signalled as a whole, because a shell tells none of its children; the marker finds the rest,
 * and the control group, where there is one, what has no marker any more.
 */
export async function endMarked(pid: number, marker: string, group?: ServiceGroup): Promise<void> {
  sendSignal(-pid, 'SIGTERM')
  const find = (): number[] => [
    ...new Set([...findMarked(marker, COMMAND_VARIABLE), ...(group?.pids() ?? [])]),
  ]
  await killStragglers(find, systemClock, NEVER)
  // What has replaced its environment. The number is not another group's yet: numbers are given out in turn.
  sendSignal(-pid, 'SIGKILL')
  if (group === undefined) return
  await group.kill(systemClock)
  // What has just been killed may be in it for a moment.
  for (let round = 0; round < REMOVE_ROUNDS && !group.remove(); round += 1) await systemClock.sleep(REMOVE_MS)
}

function notStarted(program: string, error: unknown): CommandStartError {
  const reasons: Readonly<Record<string, string>> = {
    ENOENT: 'there is no such program',
    EACCES: 'it may not be executed',
    E2BIG: 'arguments and environment are too long',
    ENOEXEC: 'it is no program',
  }
  const reason = reasons[codeOf(error) ?? ''] ?? reasonOf(error)
  return new CommandStartError(`cannot run ${JSON.stringify(program)}: ${reason}`, { cause: error })
}
