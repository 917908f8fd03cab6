import { constants } from 'node:fs'
import { open, realpath, type FileHandle } from 'node:fs/promises'
import { relative } from 'node:path'
import { codeOf, reasonOf } from './errors.js'

export type TextFile =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'absent' }
  | { readonly kind: 'unreadable'; readonly reason: string }

export interface TextFileLimits {
  readonly maxBytes: number
  /** Where the file must really be once symbolic links are followed. */
  readonly within?: string
  /** Refuse a file that any account of the machine may read or change. */
  readonly private?: boolean
}

/** Reads a small UTF-8 file that may have been made to hang, flood or mislead its reader. Never throws. */
export async function readTextFile(path: string, limits: TextFileLimits): Promise<TextFile> {
  try {
    if (limits.within !== undefined && !(await isReallyWithin(path, limits.within))) {
      return unreadable('it is a symbolic link that leads elsewhere')
    }
    // Opening a FIFO that nobody writes to would otherwise wait for ever.
    const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    try {
      const found = await handle.stat()
      if (!found.isFile()) return unreadable('it is not a regular file')
      if (limits.private === true && (found.mode & 0o006) !== 0)
        return unreadable('everybody may read or change it; run: chmod o-rw')
      const bytes = await readUpTo(handle, limits.maxBytes + 1)
      if (bytes.length > limits.maxBytes) return unreadable(`it is larger than ${limits.maxBytes} bytes`)
      return decode(bytes)
    } finally {
      await handle.close()
    }
  } catch (error) {
    return codeOf(error) === 'ENOENT' ? { kind: 'absent' } : unreadable(reasonOf(error))
  }
}

async function readUpTo(handle: FileHandle, limit: number): Promise<Buffer> {
  const buffer = Buffer.alloc(limit)
  let filled = 0
  while (filled < limit) {
    const { bytesRead } = await handle.read(buffer, filled, limit - filled)
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

/** Whether following every link from `folder` on leads to the very place that `path` names. */
async function isReallyWithin(path: string, folder: string): Promise<boolean> {
  return relative(await realpath(folder), await realpath(path)) === relative(folder, path)
}

function unreadable(reason: string): TextFile {
  return { kind: 'unreadable', reason }
}
