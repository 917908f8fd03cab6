import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fstatSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
  type Stats,
} from 'node:fs'
import { codeOf, DiscobotError } from '../../base/errors.js'
import { writeNewNow, type FileAttributes } from '../../base/files/files-at-once.js'

/** A path leads over a link that a less trusted account may have made, or to something that is no plain file. */
export class UntrustedPathError extends DiscobotError {
  readonly code = 'PATH_NOT_FOLLOWED'
}

/** open(2): stands for a place, and reads nothing of it. Node has no name for it. */
const O_PATH = 0o10000000
const ENTER = O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW
/** A pipe must not keep us waiting for who writes to it. */
const READ = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY
/** As the kernel has it (path_resolution(7)). */
const MAX_LINKS = 40
/** Each level is a descriptor; far deeper than what people and their tools make. */
const MAX_DEPTH = 200
/** The largest file of ours is a bundle of certificates, of a quarter of a megabyte. */
const MAX_BYTES = 16 * 1024 * 1024

/**
 * A folder held by a descriptor: a name in it stays a name in it, whatever is renamed or linked meanwhile. Node has no
 * openat(2); `/proc/self/fd/N/NAME` is the same (proc_pid_fd(5)). No call here follows a link at NAME.
 */
export class HeldFolder {
  /** For messages; how it was reached. */
  readonly path: string
  readonly #fd: number

  private constructor(path: string, fd: number) {
    this.path = path
    this.#fd = fd
  }

  static top(): HeldFolder {
    return new HeldFolder('/', openSync('/', ENTER))
  }

  close(): void {
    closeSync(this.#fd)
  }

  stat(): Stats {
    return fstatSync(this.#fd)
  }

  /** Of the entry itself; undefined when there is none. */
  find(name: string): Stats | undefined {
    return this.#call(name, (at) => lstatSync(at, { throwIfNoEntry: false }))
  }

  names(): string[] {
    return this.#call('.', (at) => readdirSync(at))
  }

  enter(name: string): HeldFolder {
    const path = `${this.path === '/' ? '' : this.path}/${name}`
    return new HeldFolder(
      path,
      this.#call(name, (at) => openSync(at, ENTER)),
    )
  }

  /** As `enter`, and makes the folder when there is nothing. */
  make(name: string, mode = 0o755): HeldFolder {
    if (this.find(name) === undefined) this.#call(name, (at) => mkdirSync(at, { mode }))
    return this.enter(name)
  }

  /** The folder itself becomes `owner`'s, unless it is; what is in it stays as it is. */
  give({ uid, gid }: { readonly uid: number; readonly gid: number }): void {
    const found = this.stat()
    if (found.uid !== uid || found.gid !== gid) chownSync(this.#self, uid, gid)
  }

  /**
   * All in it that belongs to uid `former` becomes `owner`'s, links themselves among it; what belongs to others stays
   * theirs, and so does what is mounted in it.
   */
  giveAll(former: number, owner: { readonly uid: number; readonly gid: number }, depth = 0): void {
    const { uid, dev } = this.stat()
    if (uid === former) this.give(owner)
    for (const name of this.names()) {
      const found = this.find(name)
      if (found === undefined || found.dev !== dev) continue
      if (found.isDirectory()) {
        if (depth < MAX_DEPTH) this.#within(name, (inner) => inner.giveAll(former, owner, depth + 1))
      } else if (found.uid === former) {
        this.#call(name, (at) => lchownSync(at, owner.uid, owner.gid))
      }
    }
  }

  chmod(mode: number): void {
    if ((this.stat().mode & 0o7777) !== mode) chmodSync(this.#self, mode)
  }

  /** Where the link of that name leads; undefined when it is none. */
  linkAt(name: string): string | undefined {
    if (this.find(name)?.isSymbolicLink() !== true) return undefined
    return this.#call(name, (at) => readlinkSync(at))
  }

  /** What a plain file says, with what is known of it; undefined when there is nothing. @throws UntrustedPathError */
  read(name: string): { readonly text: string; readonly stats: Stats } | undefined {
    if (this.find(name) === undefined) return undefined
    const fd = this.#call(name, (at) => openSync(at, READ))
    try {
      const stats = fstatSync(fd)
      const path = `${this.path}/${name}`
      if (!stats.isFile()) throw new UntrustedPathError(`cannot read ${path}: it is not a plain file`)
      if (stats.size > MAX_BYTES)
        throw new UntrustedPathError(`cannot read ${path}: it is larger than ${MAX_BYTES / 1024 / 1024} MiB`)
      return { text: readFileSync(fd, 'utf8'), stats }
    } finally {
      closeSync(fd)
    }
  }

  /** The file appears whole, with its owner and mode, or not at all. */
  write(name: string, content: string | Uint8Array, attributes: FileAttributes): void {
    const temporary = `${name}.${randomBytes(6).toString('hex')}.tmp`
    this.#call(temporary, (at) => writeNewNow(at, content, attributes))
    try {
      this.rename(temporary, name)
    } catch (error) {
      this.unlink(temporary)
      throw error
    }
  }

  /** Whose the plain file is becomes `owner`, unless it is. @throws UntrustedPathError for all else, and for one with a second name */
  giveFile(name: string, { uid, gid }: { readonly uid: number; readonly gid: number }): void {
    const fd = this.#call(name, (at) => openSync(at, O_PATH | constants.O_NOFOLLOW))
    try {
      const found = fstatSync(fd)
      if (!found.isFile() || found.nlink > 1)
        throw new UntrustedPathError(
          `cannot give away ${this.path}/${name}: it is no plain file of one name; remove it`,
        )
      if (found.uid !== uid || found.gid !== gid) chownSync(`/proc/self/fd/${fd}`, uid, gid)
    } finally {
      closeSync(fd)
    }
  }

  rename(from: string, to: string): void {
    this.#call(from, (at) => renameSync(at, `${this.#self}/${to}`))
  }

  link(target: string, name: string): void {
    this.#call(name, (at) => symlinkSync(target, at))
  }

  unlink(name: string): void {
    this.#call(name, (at) => unlinkSync(at))
  }

  rmdir(name: string): void {
    this.#call(name, (at) => rmdirSync(at))
  }

  /**
   * Whether nobody but root and ourselves can have put a name into it. For an account without root's rights it does not
   * matter: a link leads it to nothing that it could not get at anyhow.
   */
  get isOurs(): boolean {
    const own = process.geteuid?.() ?? 0
    if (own !== 0) return true
    const { uid, mode } = this.stat()
    return uid === 0 && (mode & 0o022) === 0
  }

  get #self(): string {
    return `/proc/self/fd/${this.#fd}`
  }

  #within(name: string, use: (inner: HeldFolder) => void): void {
    const inner = this.enter(name)
    try {
      use(inner)
    } finally {
      inner.close()
    }
  }

  #call<T>(name: string, call: (at: string) => T): T {
    try {
      return call(`${this.#self}/${name}`)
    } catch (error) {
      throw this.#named(error)
    }
  }

  /** A descriptor's number says nothing to who reads the message. */
  #named(error: unknown): unknown {
    if (error instanceof Error) error.message = error.message.replaceAll(this.#self, this.path)
    return error
  }
}

/**
 * The folder that holds `path`, an absolute one, and its name there. Links are followed only where nobody but us can
 * have made them.
 *
 * @param make folders that are missing on the way are made, with mode 0755.
 * @throws UntrustedPathError
 */
function locate(path: string, make = false): { readonly folder: HeldFolder; readonly name: string } {
  let rest = parts(path)
  let folder = HeldFolder.top()
  try {
    for (let links = 0; ;) {
      const [name = '.', ...others] = rest
      const target = name === '..' ? undefined : folder.linkAt(name)
      if (target === undefined && others.length === 0) return { folder, name }
      let next: HeldFolder
      if (target === undefined) {
        next = make ? folder.make(name) : folder.enter(name)
        rest = others
      } else {
        links += 1
        refuseForeign(folder, name, path)
        if (links > MAX_LINKS)
          throw new UntrustedPathError(`cannot use ${path}: more than ${MAX_LINKS} links lead on from it`)
        rest = [...parts(target), ...others]
        if (!target.startsWith('/')) continue
        next = HeldFolder.top()
      }
      folder.close()
      folder = next
    }
  } catch (error) {
    folder.close()
    throw error
  }
}

/** The folder at `path` for as long as `use` works in it; not for what waits. @throws UntrustedPathError */
export function inFolder<T>(path: string, use: (folder: HeldFolder) => T): T {
  return within(locate(path), (parent, name) => within({ folder: parent.enter(name) }, use))
}

/** As `inFolder`, and makes what is missing on the way. */
export function inNewFolder<T>(path: string, use: (folder: HeldFolder, fresh: boolean) => T): T {
  return within(locate(path, true), (parent, name) => {
    const fresh = parent.find(name) === undefined
    return within({ folder: parent.make(name) }, (folder) => use(folder, fresh))
  })
}

/** The folder that holds `path`, as `inFolder`. */
export function besides<T>(path: string, use: (folder: HeldFolder, name: string) => T): T {
  return within(locate(path), use)
}

function within<T>(
  place: { readonly folder: HeldFolder; readonly name?: string },
  use: (folder: HeldFolder, name: string) => T,
): T {
  try {
    return use(place.folder, place.name ?? '.')
  } finally {
    place.folder.close()
  }
}

function refuseForeign(folder: HeldFolder, name: string, path: string): void {
  if (folder.isOurs) return
  throw new UntrustedPathError(
    `cannot use ${path}: ${folder.path}/${name} is a link, and others than root can write to ${folder.path}; put what it leads to in its place`,
  )
}

function parts(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.')
}

/** Nothing is there, or no folder on the way. */
export function isAbsent(error: unknown): boolean {
  return codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR'
}
