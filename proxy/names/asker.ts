import { fork, type ChildProcess } from 'node:child_process'
import { lookup } from 'node:dns'
import { fileURLToPath } from 'node:url'
import { codeOf } from '../../base/errors.js'
import type { Question, Reply } from './resolver-process.js'

const PROGRAM = fileURLToPath(new URL('resolver-process.js', import.meta.url))
/** libuv gives half of its threads to names. It makes all at once, of 8 KiB of memory each. */
const THREADS = 64
/** So many names at a time are asked for in one such process. */
const PLACES = THREADS / 2

/** A process without questions ends after this: 10 MB of its own, and 40 ms of a processor to make another. */
const IDLE_LIMIT_MS = 60_000

/** getaddrinfo and the loader of programs read these; no secret is among them. */
const HANDED_ON = [
  'LANG',
  'RES_OPTIONS',
  'LOCALDOMAIN',
  'HOSTALIASES',
  'RESOLV_HOST_CONF',
  'LD_LIBRARY_PATH',
  'LD_PRELOAD',
]

/** A way to ask getaddrinfo. */
export interface Asker {
  /** Questions that are not answered yet. */
  readonly open: number
  readonly places: number
  /** @throws an error with the resolver's code; ESTOPPED when it has ended before it answered. */
  ask(host: string): Promise<readonly string[]>
  /** Ends it, and what it waits for. */
  end(): void
}

/** Asks in this process: at once, and without a way to end it. Two at a time would hold up our files. */
export class OwnAsker implements Asker {
  readonly places = 1
  open = 0

  ask(host: string): Promise<readonly string[]> {
    this.open += 1
    return new Promise((resolve, reject) => {
      lookup(host, { all: true, verbatim: true }, (error, found) => {
        this.open -= 1
        if (error === null) resolve(found.map(({ address }) => address))
        else reject(error)
      })
    })
  }

  end(): void {
    // Nothing ends getaddrinfo.
  }
}

interface Waiting {
  resolve(addresses: readonly string[]): void
  reject(error: Error): void
}

/** Asks in a process of its own, many names at a time; questions that come before it is there wait for it. */
export class ProcessAsker implements Asker {
  readonly places = PLACES
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, Waiting>()
  readonly #onEnd: () => void
  readonly #idleLimitMs: number
  #idle: NodeJS.Timeout | undefined
  #nextId = 0

  /**
   * @param env the proxy's own.
   * @param onEnd called when it takes no more questions.
   */
  constructor(env: NodeJS.ProcessEnv, onEnd: () => void, idleLimitMs = IDLE_LIMIT_MS) {
    this.#onEnd = onEnd
    this.#idleLimitMs = idleLimitMs
    this.#child = this.#start(env)
  }

  get open(): number {
    return this.#waiting.size
  }

  ask(host: string): Promise<readonly string[]> {
    clearTimeout(this.#idle)
    const question: Question = { id: this.#nextId++, host }
    return new Promise((resolve, reject) => {
      this.#waiting.set(question.id, { resolve, reject })
      if (!this.#child.connected) return this.#ended()
      this.#child.send(question, (error) => {
        if (error !== null) this.end()
      })
    })
  }

  end(): void {
    // From now on it is asked nothing.
    this.#onEnd()
    this.#child.kill('SIGKILL')
  }

  #start(all: NodeJS.ProcessEnv): ChildProcess {
    const env = {
      ...Object.fromEntries(HANDED_ON.map((name) => [name, all[name]])),
      UV_THREADPOOL_SIZE: String(THREADS),
    }
    const child = fork(PROGRAM, [], { env, execArgv: ['--max-old-space-size=32'], stdio: 'ignore' })
    child.unref()
    child.channel?.unref()
    child.on('error', () => this.#ended())
    child.once('exit', () => this.#ended())
    child.on('message', (reply: Reply) => this.#settle(reply))
    return child
  }

  #ended(): void {
    clearTimeout(this.#idle)
    this.#onEnd()
    const waiting = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const { reject } of waiting) reject(stopped())
  }

  #settle({ id, addresses, code }: Reply): void {
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    if (this.#waiting.size === 0) this.#idle = setTimeout(() => this.end(), this.#idleLimitMs).unref()
    if (addresses !== undefined) waiting?.resolve(addresses)
    else waiting?.reject(Object.assign(new Error(`getaddrinfo ${code}`), { code }))
  }
}

/** Whether the asker ended, which says nothing of the name. */
export function hasStopped(error: unknown): boolean {
  return codeOf(error) === 'ESTOPPED'
}

function stopped(): Error {
  return Object.assign(new Error('the resolver process has ended'), { code: 'ESTOPPED' })
}
