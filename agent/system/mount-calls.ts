import { DiscobotError, reasonOf } from '../../base/errors.js'

/** The kernel, or the lack of a way to ask it, refused a mount, an unmount or a lock. */
export class MountCallError extends DiscobotError {
  readonly code = 'MOUNT_REFUSED'

  constructor(
    message: string,
    /** `EBUSY` and the like; absent when the kernel was never asked. */
    readonly errno?: string,
    options?: ErrorOptions,
  ) {
    super(message, options)
  }
}

export interface MountCalls {
  /** mount(2). @throws MountCallError */
  mount(source: string, target: string, type: string, data: string): void
  /** umount2(2); `detach` also takes away what is still in use, once its users end. @throws MountCallError */
  unmount(target: string, how: 'now' | 'detach'): void
  /** flock(2), exclusively. False when somebody else holds it. @throws MountCallError */
  lock(descriptor: number): boolean
}

/** umount2(2) */
const MNT_DETACH = 2
/** flock(2) */
const LOCK_EX = 2
const LOCK_NB = 4
/** The kernel copies one page of options and drops the rest without a word. */
const MAX_DATA_BYTES = 4_095

/**
 * The calls of libc themselves: mount(8) would cost a warm boot the 136 ms of loading execa, and its exit code
 * does not tell what the kernel said.
 *
 * @throws MountCallError where koffi cannot be loaded.
 */
export async function loadMountCalls(): Promise<MountCalls> {
  try {
    const { default: koffi } = await import('koffi')
    const libc = koffi.load(null)
    const mount = libc.func(
      'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)',
    )
    const umount2 = libc.func('int umount2(const char *target, int flags)')
    const flock = libc.func('int flock(int fd, int operation)')
    const names = new Map(Object.entries(koffi.os.errno).map(([name, number]) => [number, name]))
    const lastError = (): string => names.get(koffi.errno()) ?? `errno ${koffi.errno()}`
    return {
      mount: (source, target, type, data) => {
        if (Buffer.byteLength(data) > MAX_DATA_BYTES)
          throw new MountCallError(
            `cannot mount ${type} on ${target}: its paths are too long`,
            'ENAMETOOLONG',
          )
        if (mount(source, target, type, 0, data) === 0) return
        const errno = lastError()
        throw new MountCallError(`cannot mount ${type} on ${target}: ${errno}`, errno)
      },
      unmount: (target, how) => {
        if (umount2(target, how === 'detach' ? MNT_DETACH : 0) === 0) return
        const errno = lastError()
        throw new MountCallError(`cannot unmount ${target}: ${errno}`, errno)
      },
      lock: (descriptor) => {
        if (flock(descriptor, LOCK_EX | LOCK_NB) === 0) return true
        const errno = lastError()
        if (errno === 'EAGAIN' || errno === 'EWOULDBLOCK') return false
        throw new MountCallError(`cannot lock: ${errno}`, errno)
      },
    }
  } catch (error) {
    throw new MountCallError(`cannot mount anything: ${reasonOf(error)}`, undefined, { cause: error })
  }
}
