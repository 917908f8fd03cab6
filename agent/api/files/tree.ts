import { constants } from 'node:fs'
import { mkdir, open, realpath, type FileHandle } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { codeOf } from '../../../base/errors.js'
import { isWithin } from '../../../config/model/paths.js'
import { refuse } from '../../../base/http/problem.js'
import { refuseSystemError } from './system-refusal.js'

const FOLDER_FLAGS = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW

const ANY_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/** A folder held open: what is done `at` it is done there, whatever becomes of its name meanwhile. */
export class Folder {
  readonly #handle: FileHandle

  constructor(handle: FileHandle) {
    this.#handle = handle
  }

  /** For system calls, as openat(2) would have it. proc(5): the link is the open folder, not its name. */
  get path(): string {
    return `/proc/self/fd/${this.#handle.fd}`
  }

  at(name: string): string {
    return `${this.path}/${name}`
  }

  /** A folder directly below, never through a link. */
  async below(name: string): Promise<Folder> {
    return new Folder(await open(this.at(name), FOLDER_FLAGS))
  }

  close(): Promise<void> {
    return this.#handle.close()
  }
}

/** A name in an open folder; the name itself has not been looked at. */
export interface Place {
  readonly folder: Folder
  readonly name: string
}

/**
 * The files of the workspace, and no others. A path is brought into its real form first, which follows links and
 * tells where they lead; then that form is walked from the root, each step from the folder opened before and through
 * no link at all. So nobody who swaps a folder for a link between the two looks gets us out.
 */
export class WorkspaceTree {
  readonly #root: string

  /** @param root may be a link itself: it is the operator's. */
  constructor(root: string) {
    this.#root = root
  }

  /** A folder, through links as long as they stay within. To be closed. */
  async openFolder(path: string): Promise<Folder> {
    const names = namesOf(path)
    return await this.#guard(path, async (root) => this.#walk(root, await this.#real(root, names, path)))
  }

  /** Whatever is there, opened for reading, links followed. A pipe is opened without waiting for its other end. */
  async openAny(path: string): Promise<FileHandle> {
    const names = namesOf(path)
    return await this.#guard(path, async (root) => {
      const real = await this.#real(root, names, path)
      const name = real.pop()
      if (name === undefined) return await open(root, FOLDER_FLAGS)
      const folder = await this.#walk(root, real)
      try {
        return await open(folder.at(name), ANY_FLAGS)
      } finally {
        await folder.close()
      }
    })
  }

  /** Where the thing at `path` really is: links are followed. The folder is to be closed. */
  async follow(path: string): Promise<Place> {
    const names = namesOf(path)
    return await this.#guard(path, async (root) => {
      const real = await this.#real(root, names, path)
      const name = real.pop()
      if (name === undefined) return refuse(409, 'this is the workspace itself')
      return { folder: await this.#walk(root, real), name }
    })
  }

  /**
   * The name at `path`, which need not exist, and is not followed when it is a link. The folder is to be closed.
   *
   * @param makeParents folders missing on the way are made.
   */
  async place(path: string, makeParents = false): Promise<Place> {
    const names = namesOf(path)
    const name = names.pop()
    if (name === undefined) return refuse(409, 'this is the workspace itself')
    return await this.#guard(path, async (root) => {
      if (makeParents) return { folder: await this.#make(root, names, path), name }
      return { folder: await this.#walk(root, await this.#real(root, names, path)), name }
    })
  }

  async #guard<Value>(path: string, work: (root: string) => Promise<Value>): Promise<Value> {
    try {
      return await work(await realpath(this.#root))
    } catch (error) {
      return refuseSystemError(error, path)
    }
  }

  async #real(root: string, names: readonly string[], path: string): Promise<string[]> {
    const real = await realpath(join(root, ...names))
    if (!isWithin(real, root)) refuse(403, `${JSON.stringify(path)} leads out of the workspace`)
    return relative(root, real)
      .split('/')
      .filter((name) => name !== '')
  }

  async #walk(root: string, names: readonly string[]): Promise<Folder> {
    let folder = new Folder(await open(root, FOLDER_FLAGS))
    for (const name of names) folder = await step(folder, (from) => from.below(name))
    return folder
  }

  /** As deep as there is something already, links and all; from there on only what we make ourselves. */
  async #make(root: string, names: readonly string[], path: string): Promise<Folder> {
    let depth = names.length
    let folder: Folder | undefined
    while (folder === undefined) {
      try {
        folder = await this.#walk(root, await this.#real(root, names.slice(0, depth), path))
      } catch (error) {
        if (depth === 0 || codeOf(error) !== 'ENOENT') throw error
        depth -= 1
      }
    }
    for (const name of names.slice(depth)) {
      folder = await step(folder, async (from) => {
        await makeFolder(from, name)
        return from.below(name)
      })
    }
    return folder
  }
}

/** From one open folder to the next; the one behind is closed, whatever happens. */
async function step(from: Folder, next: (from: Folder) => Promise<Folder>): Promise<Folder> {
  try {
    return await next(from)
  } finally {
    await from.close()
  }
}

async function makeFolder(folder: Folder, name: string): Promise<void> {
  try {
    await mkdir(folder.at(name))
  } catch (error) {
    // Somebody else made it meanwhile; if it is a link, it will not be entered.
    if (codeOf(error) !== 'EEXIST') throw error
  }
}

/** @throws RefusedRequestError unless it is a relative path that goes down only. */
function namesOf(path: string): string[] {
  if (path.includes('\0')) refuse(400, 'the path holds a NUL')
  if (path.startsWith('/')) refuse(400, 'the path must be relative to the workspace')
  const names = path.split('/').filter((name) => name !== '' && name !== '.')
  if (names.includes('..')) refuse(400, 'the path must not hold ".."')
  return names
}
