import { closeSync, openSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { chmod, chown, lstat, mkdir, readFile } from '../../base/files/files-at-once.js'
import { DiscobotError, reasonOf } from '../../base/errors.js'
import type { Logger } from '../../base/log/logger.js'
import { MountCallError, type MountCalls } from '../system/mount-calls.js'
import { parseMountTable } from '../system/mount-table.js'
import { closeBase } from './base-home.js'
import { MOUNT_SOURCE } from './home-plan.js'
import { overlayOptions } from './overlay-layers.js'

/** The session's view of the home cannot be had. */
export class OverlayError extends DiscobotError {
  readonly code = 'OVERLAY_UNAVAILABLE'
}

interface SessionOverlayOptions {
  readonly calls: MountCalls
  readonly base: string
  /** Whether the kernel renames folders of it. */
  readonly rename: boolean
  readonly home: string
  readonly sessionId: string
  readonly logger: Logger
}

/**
 * The home as one session sees it: the base, and over it what this session has changed, which is kept under its
 * id. Held by a lock, because two mounts with one upper folder are undefined (overlayfs.rst).
 */
export class SessionOverlay {
  readonly #options: SessionOverlayOptions
  readonly #folder: string
  /** A descriptor. */
  #lock: number | undefined
  #mounted = false

  constructor(options: SessionOverlayOptions) {
    this.#options = options
    this.#folder = join(dirname(options.base), 'sessions', options.sessionId)
  }

  /**
   * Mounts, unless it is mounted already. Resolves with what to tell about it.
   *
   * @throws OverlayError when another agent has the session, the kernel refuses, or `signal` aborted first.
   */
  async mount(signal: AbortSignal): Promise<string> {
    const { calls, base, home, sessionId, rename } = this.#options
    const upper = join(this.#folder, 'upper')
    const work = join(this.#folder, 'work')
    await mkdir(dirname(this.#folder), { recursive: true, mode: 0o700 })
    const fresh = (await mkdir(upper, { recursive: true })) !== undefined
    await mkdir(work, { recursive: true })
    this.#takeLock()
    try {
      const source = MOUNT_SOURCE + sessionId
      const present = await this.#present()
      if (present === source) {
        this.#mounted = true
        return `session ${sessionId}, mounted already`
      }
      await likeBase(base, upper)
      await closeBase(base)
      // From here to the mount nothing waits, so after an abort nothing is mounted that nobody would release.
      signal.throwIfAborted()
      // Of an agent that was killed, in another session.
      if (present !== undefined) calls.unmount(home, 'detach')
      calls.mount(source, home, 'overlay', overlayOptions({ lower: base, upper, work }, rename))
      this.#mounted = true
      const limit = rename ? '' : '; the kernel renames no folders in it (EXDEV)'
      return `session ${sessionId}, ${fresh ? 'new' : 'with its changes'}${limit}`
    } catch (error) {
      this.#letGo()
      throw new OverlayError(`cannot show session ${sessionId}: ${reasonOf(error)}`, { cause: error })
    }
  }

  /** Unmounts what `mount` mounted, also when somebody still is in there. Never rejects. */
  release(): void {
    const { calls, home, logger } = this.#options
    if (this.#mounted) {
      this.#mounted = false
      try {
        unmountAtLast(calls, home)
      } catch (error) {
        logger.warn({ reason: reasonOf(error) }, 'the home stays mounted')
      }
    }
    this.#letGo()
  }

  async #present(): Promise<string | undefined> {
    const mounts = parseMountTable(await readFile('/proc/self/mountinfo', 'utf8'))
    return mounts.findLast(({ target }) => target === this.#options.home)?.source
  }

  #takeLock(): void {
    const { calls, sessionId } = this.#options
    this.#lock ??= openSync(join(this.#folder, 'lock'), 'a', 0o600)
    if (calls.lock(this.#lock)) return
    this.#letGo()
    throw new OverlayError(
      `cannot show session ${sessionId}: another agent on this data dir has it; name another DISCOBOT_SESSION_ID`,
    )
  }

  #letGo(): void {
    const lock = this.#lock
    this.#lock = undefined
    if (lock !== undefined) closeSync(lock)
  }
}

/** The merged folder shows the owner and mode of its upper one. */
async function likeBase(base: string, upper: string): Promise<void> {
  const { uid, gid, mode } = await lstat(base)
  await chown(upper, uid, gid)
  await chmod(upper, mode & 0o7777)
}

function unmountAtLast(calls: MountCalls, home: string): void {
  try {
    calls.unmount(home, 'now')
  } catch (error) {
    // Whoever entered the container from outside may still have a shell in there.
    if (!(error instanceof MountCallError) || error.errno !== 'EBUSY') throw error
    calls.unmount(home, 'detach')
  }
}
