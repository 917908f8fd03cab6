import { existsSync } from 'node:fs'
import type { ChildProcess } from 'node:child_process'
import { Socket } from 'node:net'
import type { Readable } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { codeOf, reasonOf } from '../../base/errors.js'
import { LISTENERS_VARIABLE } from '../../base/process/held-listeners.js'
import type { Logger } from '../../base/log/logger.js'
import type { ChildRegistry } from '../process/children.js'
import type { Clock } from '../process/clock.js'
import type { ProcessEnd } from '../process/exit-code.js'
import { hasLivingMembers } from '../process/proc-stat.js'
import type { ServiceGroup } from '../cgroups/service-group.js'
import { logLine } from './log-line.js'
import { OutputBudget, type OutputShare } from './output-budget.js'
import { OutputReader } from './output-reader.js'
import { readyFd } from './readiness.js'
import { accountOf, systemRunAs, type RunAsDeps } from '../process/run-as.js'
import { restricted } from './restricted.js'
import { sendSignal } from '../process/send-signal.js'
import { GROUP_VARIABLE, type ServiceSpec } from './spec.js'
import { MARKER_VARIABLE } from '../process/stragglers.js'

/** Between two looks at a group whose leader has ended. */
const POLL_MS = 10
/** SIGKILL works at once, unless a process hangs in the kernel (state D); that cannot be waited out. */
const KILL_WAIT_MS = 2_000
/** The last words are in the pipe already; whoever holds it open longer is not the one we wait for. */
const DRAIN_MS = 50
const DRAIN_LIMIT_MS = 1_000
/** The newline is all that is awaited; some write a word before it. */
const MAX_BEFORE_NEWLINE = 4096
/** Of the last line, for messages. */
const LAST_LINE_LENGTH = 300

export interface ProcessDeps {
  readonly children: ChildRegistry
  readonly clock: Clock
  /** Takes what the process prints, line by line, with the fields `service` and `stream`. */
  readonly logger: Logger
  readonly runAs?: RunAsDeps
  /** Where it and all it starts belong; absent where there are no control groups. */
  readonly group?: ServiceGroup
  /** Of its service's, whichever process of it prints; absent means one of its own. */
  readonly output?: OutputShare
}

/** `left`: something of the group could not even be killed. */
export type GroupEnd = 'ended' | 'killed' | 'left'

/**
 * One process of a service, in a session and process group of its own, so that a signal reaches all it
 * started and none of ours. What it prints is read to the end, however late: a pipe that stays full would stop it.
 */
export class ServiceProcess {
  /** Absent when it could not be started. */
  readonly pid: number | undefined
  /** When the leader has ended. Does not wait for its pipes, which a grandchild may hold for ever. */
  readonly ended: Promise<ProcessEnd>
  readonly #clock: Clock
  readonly #child: ChildProcess | undefined
  readonly #readers: readonly OutputReader[]
  readonly #notified = new AbortController()
  readonly #handover: Socket | undefined
  readonly #stopsItself: boolean
  #leaderEnded = false
  #groupGone = false
  #asked = false
  #lastLine = ''

  /** @param marker found again in the environment of everything the process starts. */
  constructor(spec: ServiceSpec, marker: string, deps: ProcessDeps) {
    this.#clock = deps.clock
    this.#stopsItself = spec.stopsItself === true
    try {
      this.#child = spawnLeader(spec, marker, deps)
    } catch (error) {
      this.#readers = []
      this.#groupGone = true
      this.ended = Promise.resolve(notStarted(error, spec))
      return
    }
    this.pid = this.#child.pid
    if (this.pid === undefined) {
      // With EMFILE and ENFILE, Node has not even made the pipes. Its `error` is still to come.
      this.#readers = []
      this.ended = this.#untilLeaderEnds(this.#child, spec)
      return
    }
    this.#readers = (['stdout', 'stderr'] as const).flatMap((stream) => {
      const pipe = this.#child?.[stream]
      return pipe ? [this.#log(pipe, stream, spec, deps)] : []
    })
    this.ended = this.#untilLeaderEnds(this.#child, spec)
    const fd = readyFd(spec.readiness)
    if (fd !== undefined) this.#awaitNewline(this.#child.stdio[fd])
    if (spec.handover !== undefined) this.#handover = handoverPipe(this.#child.stdio[spec.handover.fd])
  }

  /** Aborts when the process has written a newline to its readiness descriptor. */
  get notified(): AbortSignal {
    return this.#notified.signal
  }

  /**
   * Gives the process what it waits for. Small enough for the socket's buffer (net.core.wmem_default, 208 KiB), so
   * nobody has to wait for the reader.
   */
  handOver(text: string): void {
    const pipe = this.#handover
    // Nothing is read from it, and its other end stays open in who does not close it.
    pipe?.end(text, () => pipe.destroy())
  }

  /** The last line it printed, or nothing; cut to what fits into a message. */
  get lastLine(): string {
    return this.#lastLine
  }

  get isLeaderAlive(): boolean {
    return this.pid !== undefined && !this.#leaderEnded
  }

  /** Signals the leader alone. False when it has ended. */
  signal(signal: NodeJS.Signals): boolean {
    return this.#child?.kill(signal) ?? false
  }

  /** Whether anything of the group still runs. */
  isGroupAlive(): boolean {
    const { pid } = this
    if (this.#groupGone || pid === undefined) return false
    if (!this.#leaderEnded) return true
    // A group's number is not given to another process while the group lasts, and never signalled again after.
    // Looking twice: a member that forks and ends during one look can be missed by it.
    this.#groupGone = !sendSignal(-pid, 0) || (!hasLivingMembers(pid) && !hasLivingMembers(pid))
    return !this.#groupGone
  }

  /**
   * Ends the leader and its group: SIGTERM, `graceMs` or until `killNow`, SIGKILL. Resolves when nothing of
   * the group runs any more.
   */
  async end(graceMs: number, killNow: AbortSignal): Promise<GroupEnd> {
    const { pid } = this
    if (pid === undefined || !this.isGroupAlive()) return 'ended'
    // Once: dockerd, for one, takes the third SIGTERM for an order to leave everything as it is.
    if (!this.#asked) sendSignal(this.#stopsItself && !this.#leaderEnded ? pid : -pid, 'SIGTERM')
    this.#asked = true
    if (await this.#untilGone(graceMs, killNow)) return 'ended'
    sendSignal(-pid, 'SIGKILL')
    return (await this.#untilGone(KILL_WAIT_MS)) ? 'killed' : 'left'
  }

  /**
   * Resolves when all it printed has been logged. A pipe that somebody else still holds open is waited for
   * until it has been silent for 50 ms, and for a second at most.
   */
  async drained(): Promise<void> {
    const closed = new AbortController()
    const open = this.#readers.filter((reader) => !reader.isDone)
    let left = open.length
    for (const reader of open) {
      const over = (): void => {
        left -= 1
        if (left === 0) closed.abort()
      }
      reader.done.then(over, over)
      reader.hurry()
    }
    const bytesRead = (): number => open.reduce((sum, reader) => sum + reader.bytesRead, 0)
    const until = this.#clock.now() + DRAIN_LIMIT_MS
    let silent = false
    while (left > 0 && !silent && this.#clock.now() < until) {
      const before = bytesRead()
      await this.#clock.sleep(DRAIN_MS, closed.signal)
      // On a busy machine the timer is late, and comes before what has been waiting in the pipe is read.
      await setImmediate()
      silent = bytesRead() === before
    }
    for (const reader of open) reader.relax()
  }

  /** Lets go of the pipes; what is printed after this is lost. */
  release(): void {
    for (const reader of this.#readers) reader.release()
  }

  #untilLeaderEnds(child: ChildProcess, spec: ServiceSpec): Promise<ProcessEnd> {
    return new Promise((resolve) => {
      child.on('error', (error) => {
        // With a pid it is a signal that could not be sent, and the exit is still to come.
        if (child.pid === undefined) resolve(notStarted(error, spec))
      })
      child.once('exit', (code, signal) => {
        this.#leaderEnded = true
        this.isGroupAlive()
        resolve(signal === null ? { kind: 'exited', code: code ?? 0 } : { kind: 'signalled', signal })
      })
    })
  }

  /** False when `limitMs` passed or `killNow` aborted first. */
  async #untilGone(limitMs: number, killNow?: AbortSignal): Promise<boolean> {
    const until = this.#clock.now() + limitMs
    const awake = new AbortController()
    const wake = (): void => awake.abort()
    this.ended.then(wake, wake)
    killNow?.addEventListener('abort', wake, { once: true, signal: awake.signal })
    if (killNow?.aborted !== true) await this.#clock.sleep(limitMs, awake.signal)
    wake()
    while (this.isGroupAlive()) {
      if (this.#clock.now() >= until || killNow?.aborted === true) return false
      await this.#clock.sleep(POLL_MS, killNow)
    }
    return true
  }

  #awaitNewline(pipe: unknown): void {
    if (!(pipe instanceof Socket)) return
    pipe.on('error', () => undefined)
    let bytes = 0
    pipe.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      // Who writes and writes without the newline is left to wait.
      if (bytes > MAX_BEFORE_NEWLINE) pipe.pause()
      if (!chunk.includes(0x0a)) return
      this.#notified.abort()
      pipe.destroy()
    })
    // A grandchild may hold the other end for ever.
    const letGo = (): void => void pipe.destroy()
    this.ended.then(letGo, letGo)
  }

  #log(
    pipe: Readable,
    stream: 'stdout' | 'stderr',
    { name, logLevel }: ServiceSpec,
    { logger, clock, output = new OutputBudget(clock).share() }: ProcessDeps,
  ): OutputReader {
    const ofService = logger.child({ service: name, stream })
    return new OutputReader(pipe, output, (line) => {
      this.#lastLine = line.slice(0, LAST_LINE_LENGTH)
      logLine(ofService, line, logLevel)
    })
  }
}

function spawnLeader(spec: ServiceSpec, marker: string, deps: ProcessDeps): ChildProcess {
  const { readiness, handover, sockets } = spec
  const command = restricted(spec, deps.runAs ?? systemRunAs)
  const [program, ...args] = deps.group?.within(command, spec.env['PATH'] ?? '', spec.cwd) ?? command
  const piped = [1, 2]
  const fd = readyFd(readiness)
  if (fd !== undefined) piped.push(fd)
  if (handover !== undefined) piped.push(handover.fd)
  return deps.children.spawn(program, args, {
    cwd: spec.cwd,
    env: {
      ...spec.env,
      ...(sockets === undefined ? {} : { [LISTENERS_VARIABLE]: JSON.stringify(sockets.listeners) }),
      [MARKER_VARIABLE]: marker,
      ...delegation(spec, deps),
    },
    // setsid(2): its own session and group.
    detached: true,
    stdio: Array.from({ length: Math.max(...piped, sockets?.lastFd ?? 0) + 1 }, (_, fd) =>
      piped.includes(fd) ? 'pipe' : (sockets?.stdio(fd) ?? 'ignore'),
    ),
  })
}

function delegation(
  { user, delegated }: ServiceSpec,
  { group, runAs = systemRunAs }: ProcessDeps,
): Record<string, string> {
  if (delegated !== true || group === undefined) return {}
  const { uid, gid } = user === undefined ? { uid: runAs.ownUid ?? 0, gid: 0 } : accountOf(user, runAs)
  return group.delegateTo(uid, gid) ? { [GROUP_VARIABLE]: group.location } : {}
}

function handoverPipe(pipe: unknown): Socket | undefined {
  if (!(pipe instanceof Socket)) return undefined
  // EPIPE: it has ended.
  return pipe.on('error', () => undefined)
}

function notStarted(error: unknown, spec: ServiceSpec): ProcessEnd {
  const code = codeOf(error) ?? 'UNKNOWN'
  return { kind: 'not-started', code, reason: whyNotStarted(code, error, spec) }
}

/** exec(2) answers ENOENT for the program, its interpreter and the folder alike. */
function whyNotStarted(code: string, error: unknown, spec: ServiceSpec): string {
  const [program] = spec.command
  if (!existsSync(spec.cwd)) return `the folder ${spec.cwd} does not exist`
  if (code === 'ENOENT')
    return existsSync(program) ? `the interpreter of ${program} is not found` : `${program} is not found`
  if (code === 'EACCES') return `${program} is not executable`
  return reasonOf(error)
}
