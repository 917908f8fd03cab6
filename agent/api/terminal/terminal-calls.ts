import { reasonOf } from '../../../base/errors.js'
import { TerminalError } from './terminal-error.js'

/** The ioctls of a pseudo terminal, for which Node has no function (ioctl_tty(2)). */
export interface TerminalCalls {
  /** Lets the other end of a master be opened. Returns its number below `/dev/pts`. */
  unlock(master: number): number
  /** The programs in it get SIGWINCH. */
  resize(master: number, cols: number, rows: number): void
}

/** include/uapi/asm-generic/ioctls.h; the architectures of Node that have numbers of their own are not here. */
const GENERIC: readonly string[] = ['x64', 'arm64', 'arm', 'ia32', 'riscv64', 's390x', 'loong64']
const TIOCSPTLCK = 0x40045431
const TIOCGPTN = 0x80045430
const TIOCSWINSZ = 0x5414

/**
 * Loads koffi, which costs 17 ms: only with the first terminal.
 *
 * @throws TerminalError where it cannot be done.
 */
export async function loadTerminalCalls(): Promise<TerminalCalls> {
  if (process.platform !== 'linux' || !GENERIC.includes(process.arch))
    throw new TerminalError(`cannot open a terminal: not known how on ${process.platform} ${process.arch}`)
  try {
    const { default: koffi } = await import('koffi')
    const ioctl = koffi.load(null).func('int ioctl(int fd, unsigned long request, ...)')
    const call = (fd: number, request: number, argument: Int32Array | Uint16Array): void => {
      if (ioctl(fd, request, 'void *', argument) !== 0)
        throw new TerminalError(
          `cannot open a terminal: ioctl ${request.toString(16)}: errno ${koffi.errno()}`,
        )
    }
    return {
      unlock: (master) => {
        call(master, TIOCSPTLCK, new Int32Array([0]))
        const number = new Int32Array(1)
        call(master, TIOCGPTN, number)
        return number[0] ?? 0
      },
      // struct winsize: rows, columns, and two sizes in pixels that nobody uses.
      resize: (master, cols, rows) => call(master, TIOCSWINSZ, new Uint16Array([rows, cols, 0, 0])),
    }
  } catch (error) {
    throw new TerminalError(`cannot open a terminal: ${reasonOf(error)}`, { cause: error })
  }
}
