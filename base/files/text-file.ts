import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { openBeneath } from './beneath.js'
import { codeOf, reasonOf } from '../errors.js'

export type TextFile =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'absent' }
  | { readonly kind: 'unreadable'; readonly reason: string }

interface TextFileLimits {
  readonly maxBytes: number
  /** Folder below which no symbolic link is followed on the way to the file. */
  readonly within?: string
  /** Refuse a file that any account of the machine may read or change. */
  readonly private?: boolean
  /** Refuse a file of any other account, or that another than its own may change. */
  readonly ownedBy?: readonly number[]
}

/**
 * Reads a small UTF-8 file that may have been made to hang, flood or mislead its reader. Never rejects. At once, for
 * the reason that files-at-once.ts gives.
 */
export function readTextFile(path: string, limits: TextFileLimits): Promise<TextFile> {
  return Promise.resolve(readNow(path, limits))
}

function readNow(path: string, limits: TextFileLimits): TextFile {
  try {
    const { within } = limits
    // Opening a FIFO that nobody writes to would otherwise wait for ever.
    const flags = constants.O_RDONLY | constants.O_NONBLOCK
    const fd = within === undefined ? openSync(path, flags) : openBeneath(within, path)
    if (fd === undefined) return unreadable('it is a symbolic link that leads elsewhere')
    try {
      const found = fstatSync(fd)
      if (!found.isFile()) return unreadable('it is not a regular file')
      if (limits.private === true && (found.mode & 0o006) !== 0)
        return unreadable('everybody may read or change it; run: chmod o-rw')
      const { ownedBy } = limits
      if (ownedBy !== undefined && !(ownedBy.includes(found.uid) && (found.mode & 0o022) === 0))
        return unreadable('it belongs to somebody else, or others may change it')
      const bytes = readUpTo(fd, limits.maxBytes + 1)
      if (bytes.length > limits.maxBytes) return unreadable(`it is larger than ${limits.maxBytes} bytes`)
      return decode(bytes)
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    return codeOf(error) === 'ENOENT' ? { kind: 'absent' } : unreadable(reasonOf(error))
  }
}

function readUpTo(fd: number, limit: number): Buffer {
  const buffer = Buffer.alloc(limit)
  let filled = 0
  while (filled < limit) {
    const bytesRead = readSync(fd, buffer, filled, limit - filled, null)
    if (bytesRead === 0) break
    filled += bytesRead
  }
  return buffer.subarray(0, filled)
}

function decode(bytes: Uint8Array): TextFile {
  try {
    return { kind: 'text', text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) }
  } catch {
    return unreadable('it is not UTF-8 text')
  }
}

function unreadable(reason: string): TextFile {
  return { kind: 'unreadable', reason }
}
