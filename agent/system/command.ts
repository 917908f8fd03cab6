import { DiscobotError } from '../../base/errors.js'
import type { ChildRegistry } from '../process/children.js'
import { maskSecrets } from '../settings/secret.js'
import { commandAs } from '../process/run-as.js'

/** A command that ends, unlike a service. */
export interface CommandOptions {
  /** The complete environment. */
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string
  /** Account to run as, with its supplementary groups; absent means ours. */
  readonly user?: string
  /** Ends the command's whole process group. */
  readonly signal: AbortSignal
  /** Taken out of everything that is reported. */
  readonly secrets?: readonly string[]
  /** Gets what it prints as it comes, unmasked: for who looks for progress in it, never to be shown. */
  readonly onOutput?: (text: string) => void
}

/**
 * Runs a command to its end and resolves with its stdout, without the last newline.
 *
 * @throws CommandError; SwitchUserError when `user` cannot be taken on; the signal's reason when aborted.
 */
export type RunCommand = (command: readonly [string, ...string[]], options: CommandOptions) => Promise<string>

/** The command could not be started, failed, or was ended by us. */
export class CommandError extends DiscobotError {
  readonly code = 'COMMAND_FAILED'

  constructor(
    message: string,
    /** Masked; the last 64 KiB at most. */
    readonly stderr: string,
    /** Absent when the command never ran or died of a signal. */
    readonly exitCode?: number,
    options?: ErrorOptions,
  ) {
    super(message, options)
  }
}

const MAX_REPORTED_CHARACTERS = 64 * 1024
/**
 * Between SIGTERM and SIGKILL when aborted. Enough for git to remove its lock files, and less than the 500 ms
 * for which the boot waits for a step that was told to end: nothing may outlive the agent.
 */
const ABORT_GRACE_MS = 250
/** A grandchild that keeps our pipe open may not keep the boot waiting. */
const DRAIN_MS = 1_000

/** @returns a runner whose children the reaper knows about. */
export function commandRunner(children: ChildRegistry): RunCommand {
  return async (command, options) => {
    // 136 ms on Node 20, and a warm boot runs no command at all.
    const { execa } = await import('execa')
    options.signal.throwIfAborted()
    const [program, ...args] = options.user === undefined ? command : commandAs(options.user, command)
    const child = execa(program, args, {
      cwd: options.cwd,
      env: options.env,
      extendEnv: false,
      stdin: 'ignore',
      reject: false,
      // A group of its own, so that what the command started can be ended with it.
      detached: true,
      // Its exit hooks are wrong in process 1.
      cleanup: false,
    })
    children.track(child)
    const onAbort = (): void => {
      signalGroup(child.pid, 'SIGTERM')
      setTimeout(() => signalGroup(child.pid, 'SIGKILL'), ABORT_GRACE_MS).unref()
    }
    options.signal.addEventListener('abort', onAbort, { once: true })
    const { onOutput } = options
    if (onOutput !== undefined) {
      const hand = (chunk: Buffer): void => onOutput(chunk.toString('latin1'))
      child.stdout.on('data', hand)
      child.stderr.on('data', hand)
    }
    let exit: { code: number | null } | undefined
    child.once('exit', (code) => {
      exit = { code }
      setTimeout(() => {
        child.stdout.destroy()
        child.stderr.destroy()
      }, DRAIN_MS).unref()
    })
    try {
      const result = await child
      options.signal.throwIfAborted()
      if (exit?.code === 0) return result.stdout
      const stderr = maskSecrets(result.stderr, options.secrets ?? []).slice(-MAX_REPORTED_CHARACTERS)
      throw new CommandError(
        `cannot run ${command[0]}: ${whyFailed(exit, result)}`,
        stderr,
        exit?.code ?? undefined,
      )
    } finally {
      options.signal.removeEventListener('abort', onAbort)
    }
  }
}

function whyFailed(
  exit: { code: number | null } | undefined,
  result: { readonly code?: string | undefined; readonly signal?: string | undefined },
): string {
  if (exit === undefined)
    return result.code === 'ENOENT' ? 'it is not installed' : (result.code ?? 'it did not start')
  return exit.code === null ? `it died of ${result.signal ?? 'a signal'}` : `it ended with ${exit.code}`
}

function signalGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, signal)
  } catch {
    // ESRCH: it has ended.
  }
}
