import type { ChildProcess } from 'node:child_process'
import { fchownSync, fstatSync, readFileSync, statSync } from 'node:fs'
import { isatty } from 'node:tty'
import { reasonOf } from '../../base/errors.js'
import type { Logger } from '../../base/log/logger.js'
import type { Environment } from '../settings/environment.js'
import type { ChildRegistry } from '../process/children.js'
import { exitCodeOf, type ProcessEnd } from '../process/exit-code.js'
import { accountOf, commandAs, systemRunAs } from '../process/run-as.js'
import { sendSignal } from '../process/send-signal.js'
import type { CommandScreen } from './command-screen.js'

interface UserCommandDeps {
  readonly words: readonly [string, ...string[]]
  /** Account to run as; absent means ours. */
  readonly user?: string
  readonly children: ChildRegistry
  readonly screen: CommandScreen
  readonly logger: Logger
}

/** The keys of a terminal. It sends these to whoever is in its foreground, by itself. */
const FROM_KEYS: readonly NodeJS.Signals[] = ['SIGINT', 'SIGQUIT', 'SIGWINCH']
/** Shells answer this for a program that they cannot run. */
const CANNOT_RUN = 126

/**
 * The command that a container was started with (`docker run IMAGE bash`): it has our standard streams and our
 * terminal, is sent the signals that we are sent, and its exit code becomes ours. The supervisor's services have
 * pipes and sessions of their own; a command that is to be at a terminal has neither.
 */
export class UserCommand {
  readonly #deps: UserCommandDeps
  #child: ChildProcess | undefined
  #ended: Promise<number> | undefined
  #killing: NodeJS.Timeout | undefined
  #stopped = false

  constructor(deps: UserCommandDeps) {
    this.#deps = deps
  }

  /** It runs, or has run. */
  get begun(): boolean {
    return this.#ended !== undefined
  }

  /**
   * Runs it; resolves with its exit code, 128+n after a signal. Never rejects: what cannot be run is logged and has the
   * code that a shell gives it. It is not started any more once it was asked to end.
   *
   * @param folders the first that is there becomes its working directory.
   */
  run(env: Environment, folders: readonly string[]): Promise<number> {
    if (this.#stopped) return Promise.resolve(exitCodeOf({ kind: 'signalled', signal: 'SIGTERM' }))
    this.#ended ??= this.#start(env, folders).finally(() => {
      this.#child = undefined
      clearTimeout(this.#killing)
      this.#deps.screen.giveBack()
    })
    return this.#ended
  }

  async #start(env: Environment, folders: readonly string[]): Promise<number> {
    const { words, user, children, screen, logger } = this.#deps
    try {
      const [program, ...args] = user === undefined ? words : commandAs(user, words)
      if (user !== undefined) giveStreams(user)
      const cwd = folders.find(isFolder) ?? '/'
      logger.info({ program: words[0], cwd }, 'running the command')
      screen.take()
      // Of our process group, not one of its own: only the foreground group of a terminal may read from it.
      const child = children.spawn(program, args, { stdio: 'inherit', env, cwd })
      this.#child = child
      const end = await endOf(child)
      if (end.kind === 'not-started') logger.error({ reason: end.reason }, `cannot run ${words[0]}`)
      return exitCodeOf(end)
    } catch (error) {
      logger.error({ reason: reasonOf(error) }, `cannot run ${words[0]}`)
      return CANNOT_RUN
    }
  }

  /** Passes on a signal that we were sent, unless the terminal has sent it to the command as well. */
  pass(signal: NodeJS.Signals): void {
    if (!(FROM_KEYS.includes(signal) && isInForeground())) this.#send(signal)
  }

  /**
   * Asks it to end; it is killed after `graceMs`. Interactive shells ignore SIGTERM and end when their terminal hangs up,
   * which it is about to. Resolves when it has ended.
   */
  async end(graceMs: number): Promise<void> {
    this.#stopped = true
    this.#send('SIGTERM')
    if (isatty(0)) this.#send('SIGHUP')
    if (this.#child !== undefined) this.#killing ??= setTimeout(() => this.kill(), graceMs)
    await this.#ended
  }

  kill(): void {
    this.#send('SIGKILL')
  }

  #send(signal: NodeJS.Signals): void {
    if (this.#child?.pid !== undefined) sendSignal(this.#child.pid, signal)
  }
}

function endOf(child: ChildProcess): Promise<ProcessEnd> {
  return new Promise((resolve) => {
    child.once('exit', (code, signal) =>
      resolve(signal === null ? { kind: 'exited', code: code ?? 0 } : { kind: 'signalled', signal }),
    )
    child.once('error', (error: NodeJS.ErrnoException) =>
      resolve({ kind: 'not-started', code: error.code ?? '', reason: error.message }),
    )
  })
}

/** proc(5): the foreground group of the terminal is ours, which is the command's. */
function isInForeground(): boolean {
  const stat = readFileSync('/proc/self/stat', 'utf8')
  const [, , group, , , foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return group === foreground
}

/**
 * The user may open them by name, as `/dev/stdout`: that is asked of whoever owns the terminal or pipe, and the engine has
 * made it for root. What belongs to somebody else, such as a file or `/dev/null`, is left alone.
 */
function giveStreams(user: string): void {
  const { uid, gid } = accountOf(user, systemRunAs)
  for (const fd of [0, 1, 2]) {
    try {
      if (isatty(fd) || fstatSync(fd).isFIFO()) fchownSync(fd, uid, gid)
    } catch {
      // Closed, or of a file system that keeps no owners: it can be used all the same.
    }
  }
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true
}
