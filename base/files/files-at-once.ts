import * as fs from 'node:fs'
import { codeOf } from '../errors.js'

/**
 * Calls of node:fs/promises that answer before they return. The way through Node's pool of threads and back takes a
 * start on a busy machine 0.7 ms each time, the call itself some microseconds, and a start makes a hundred of them. For
 * what is small and read or written before anybody is served. A disk that hangs holds up the whole program, whose
 * start waits for it anyway.
 */
export const access = (path: string, mode?: number): Promise<void> => atOnce(() => fs.accessSync(path, mode))
export const chmod = (path: string, mode: number): Promise<void> => atOnce(() => fs.chmodSync(path, mode))
export const chown = (path: string, uid: number, gid: number): Promise<void> =>
  atOnce(() => fs.chownSync(path, uid, gid))
export const link = (existing: string, path: string): Promise<void> =>
  atOnce(() => fs.linkSync(existing, path))
export const lstat = (path: string): Promise<fs.Stats> => atOnce(() => fs.lstatSync(path))
/** Resolves with the first folder that had to be made, if any had. */
export const mkdir = (
  path: string,
  options?: fs.MakeDirectoryOptions & { readonly recursive?: boolean },
): Promise<string | undefined> => atOnce(() => fs.mkdirSync(path, options))
export const readFile = (path: string, encoding: 'utf8'): Promise<string> =>
  atOnce(() => fs.readFileSync(path, encoding))
export const readdir = (path: string): Promise<string[]> => atOnce(() => fs.readdirSync(path))
export const readlink = (path: string): Promise<string> => atOnce(() => fs.readlinkSync(path))
/** Whether or not it is there. */
export const removeFile = (path: string): Promise<void> =>
  atOnce(() => {
    try {
      fs.unlinkSync(path)
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error
    }
  })
export const rename = (from: string, to: string): Promise<void> => atOnce(() => fs.renameSync(from, to))
export const stat = (path: string): Promise<fs.Stats> => atOnce(() => fs.statSync(path))
export const symlink = (target: string, path: string): Promise<void> =>
  atOnce(() => fs.symlinkSync(target, path))

/** A file of a name that was free, with all of this or with an error. Nobody else can read it before it is whole. */
export const writeNew = (path: string, content: string, attributes: FileAttributes): Promise<void> =>
  atOnce(() => writeNewNow(path, content, attributes))

/** As `writeNew`, without a promise. */
export function writeNewNow(
  path: string,
  content: string | Uint8Array,
  { mode, owner }: FileAttributes,
): void {
  const fd = fs.openSync(path, 'wx', 0o600)
  try {
    fs.writeFileSync(fd, content)
    if (owner !== undefined) fs.fchownSync(fd, owner.uid, owner.gid)
    fs.fchmodSync(fd, mode)
  } catch (error) {
    fs.unlinkSync(path)
    throw error
  } finally {
    fs.closeSync(fd)
  }
}

export interface FileAttributes {
  readonly mode: number
  /** Absent: whoever we are. Needs root otherwise. */
  readonly owner?: { readonly uid: number; readonly gid: number }
}

/** Like a promise of the system's: what the call throws is a rejection. */
function atOnce<T>(call: () => T): Promise<T> {
  return new Promise((resolve) => resolve(call()))
}
