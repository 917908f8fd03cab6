import { spawn, type ChildProcess } from 'node:child_process'
import { chmod, mkdtemp, open, readFile, rm } from 'node:fs/promises'
import { createConnection, createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { LOOPBACK } from '../../../config/model/paths.js'
import { PeerUnavailableError } from './errors.js'

/** squid makes its cache's 4,096 folders and stock http-mitm-proxy an RSA key before they listen. */
const READY_LIMIT_MS = 20_000
const READY_LOOK_MS = 20
/** Ours lets what is under way end for 4 s, and writes its profile after that. */
const STOP_GRACE_MS = 6_000
const TAIL_CHARACTERS = 600

export interface RunningProgram {
  readonly pid: number
  /** Resolves when the process has ended. */
  stop(): Promise<void>
}

export interface ProgramOptions {
  readonly name: string
  readonly command: readonly [string, ...string[]]
  /** Complete; nothing is inherited. */
  readonly env: Readonly<Record<string, string>>
  /** The program is up when this port of the loopback address accepts. */
  readonly port: number
}

/** The folder a run happens in and the processes on it; nothing of either is left after `clear`. */
export class Stage {
  readonly folder: string
  readonly #running = new Set<RunningProgram>()
  #cleared = false
  readonly #killAtExit = (): void => {
    for (const { pid } of this.#running) killGroup(pid, 'SIGKILL')
  }

  private constructor(folder: string) {
    this.folder = folder
    process.on('exit', this.#killAtExit)
  }

  static async open(): Promise<Stage> {
    const folder = await mkdtemp(join(tmpdir(), 'discobot-bench-'))
    // squid and nginx leave root behind and still have to get in.
    await chmod(folder, 0o755)
    return new Stage(folder)
  }

  /**
   * Starts a program in a group of its own and waits until its port accepts.
   *
   * @throws PeerUnavailableError with the end of what the program said.
   */
  async start({ name, command, env, port }: ProgramOptions): Promise<RunningProgram> {
    const logPath = join(this.folder, `${name}.out`)
    const log = await open(logPath, 'w')
    if (this.#cleared) {
      await log.close()
      throw new PeerUnavailableError(`cannot start ${name}: the run is over`)
    }
    const [program, ...args] = command
    const child = spawn(program, args, {
      cwd: this.folder,
      env,
      stdio: ['ignore', log.fd, log.fd],
      detached: true,
    })
    let end: string | undefined
    const ended = new Promise<void>((resolve) => {
      child.once('error', (error) => resolve(void (end = error.message)))
      child.once('exit', (code, signal) => resolve(void (end = `it ended with ${signal ?? `code ${code}`}`)))
    })
    await log.close()
    const running: RunningProgram = {
      pid: child.pid ?? 0,
      stop: async () => {
        await stopGroup(child, ended)
        this.#running.delete(running)
      },
    }
    if (child.pid !== undefined) this.#running.add(running)
    const deadline = performance.now() + READY_LIMIT_MS
    while (!(await accepts(port))) {
      if (end === undefined && performance.now() < deadline) {
        await delay(READY_LOOK_MS)
        continue
      }
      await running.stop()
      const said = (await readFile(logPath, 'utf8')).slice(-TAIL_CHARACTERS).trim()
      throw new PeerUnavailableError(
        `cannot start ${name}: ${end ?? 'its port stays closed'}\n${said}`.trim(),
      )
    }
    return running
  }

  async clear(): Promise<void> {
    this.#cleared = true
    await Promise.all([...this.#running].map((program) => program.stop()))
    // A squid that was killed may have left a helper that still writes for a moment.
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
  }
}

/** A port nobody has at the moment. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, LOOPBACK, () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })
}

async function stopGroup(child: ChildProcess, ended: Promise<void>): Promise<void> {
  const { pid } = child
  if (pid === undefined) return
  killGroup(pid, 'SIGTERM')
  const timer = setTimeout(() => killGroup(pid, 'SIGKILL'), STOP_GRACE_MS)
  await ended
  clearTimeout(timer)
  // Helpers that outlive their master.
  killGroup(pid, 'SIGKILL')
}

function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal)
  } catch {
    // The whole group has ended.
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host: LOOPBACK, port })
    const settle = (open: boolean): void => {
      socket.destroy()
      resolve(open)
    }
    socket.once('connect', () => settle(true))
    socket.once('error', () => settle(false))
  })
}
