import { spawn, type ChildProcess, type SpawnOptions } from 'node:child_process'

/** What the registry needs of a child; node's and execa's both fit. */
interface TrackedChild {
  readonly pid?: number | undefined
  once(event: 'exit', listener: () => void): unknown
}

/**
 * Which processes libuv waits for. The reaper must never wait for one of them: whoever waits first gets the
 * exit code, and the `exit` event of the other never comes.
 */
export class ChildRegistry {
  readonly #pids = new Set<number>()

  /** Spawns and tracks. Errors come as the child's `error` event, as with node's own `spawn`. */
  spawn(command: string, args: readonly string[], options: SpawnOptions): ChildProcess {
    const child = spawn(command, args, options)
    this.track(child)
    return child
  }

  /** For children made elsewhere, such as execa's; must be called in the tick that spawned them. */
  track(child: TrackedChild): void {
    const { pid } = child
    if (pid === undefined) return
    this.#pids.add(pid)
    child.once('exit', () => this.#pids.delete(pid))
  }

  /** Whether `pid` is a child of ours whose exit has not been delivered yet. */
  has(pid: number): boolean {
    return this.#pids.has(pid)
  }
}
