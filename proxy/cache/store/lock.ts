import { randomBytes } from 'node:crypto'
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { codeOf } from '../../../base/errors.js'
import { link, readFile, readlink, removeFile, rename, writeNew } from '../../../base/files/files-at-once.js'
import { CacheLockedError } from '../contract/errors.js'
import { temporaryName } from '../entry/file-names.js'

/** Not a name an entry can have; `file-names.ts` knows its temporary ones. */
const LOCK_FILE = 'lock'

/** Twenty times what one of ours has. */
const MAX_LOCK_BYTES = 4096

/** Two takeovers of a stale lock may meet; the second then finds a living holder and gives up. */
const MAX_ATTEMPTS = 3

/** What the lock file says. */
interface Holder {
  readonly pid: number
  /** Clock ticks from the machine's start to the process's: a pid that was given out again differs here. */
  readonly startTicks: string
  /** Process numbers mean nothing across these. */
  readonly pidNamespace: string
  readonly bootId: string
  /** See {@link DirectoryLock.epoch}. */
  readonly epoch: string
  /** The holder is gone and had finished. */
  readonly released: boolean
}

/** One process's claim on a cache directory. */
export interface DirectoryLock {
  /**
   * Another one whenever the last holder did not release the lock or the machine has been started since: what
   * was written before may not have reached the disk, so entries of any other epoch are checked before they are
   * served. The price of never calling fsync, which would hold a pool thread for seconds on a slow disk.
   */
  readonly epoch: string
  release(): Promise<void>
}

/**
 * Claims `dir`, which must exist. A lock whose process is gone is taken over, as is one from another pid
 * namespace: that is nearly always this container before its restart. Two containers on one volume are not
 * noticed.
 *
 * @throws CacheLockedError, or the system's error where the directory cannot be written.
 */
export async function lockDirectory(dir: string): Promise<DirectoryLock> {
  const path = join(dir, LOCK_FILE)
  const self = await describeSelf()
  for (let attempt = 1; ; attempt += 1) {
    const found = readHolder(path)
    if (found !== undefined && (attempt === MAX_ATTEMPTS || (await isAlive(found.holder, self)))) {
      throw new CacheLockedError(dir, found.holder?.pid ?? 0)
    }
    if (found !== undefined && !(await removeExactly(path, found.text))) continue
    const before = found?.holder
    const clean = before?.released === true && before.bootId === self.bootId
    const epoch = clean ? before.epoch : randomBytes(6).toString('hex')
    if (!(await createWhole(path, JSON.stringify({ ...self, epoch, released: false })))) continue
    return {
      epoch,
      release: () => replace(path, JSON.stringify({ ...self, epoch, released: true })),
    }
  }
}

type Self = Omit<Holder, 'epoch' | 'released'>

async function describeSelf(): Promise<Self> {
  return {
    pid: process.pid,
    startTicks: (await startTicksOf(process.pid)) ?? '',
    pidNamespace: await readlink('/proc/self/ns/pid').catch(() => ''),
    bootId: (await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')).trim(),
  }
}

async function isAlive(holder: Holder | undefined, self: Self): Promise<boolean> {
  if (holder === undefined || holder.released || holder.bootId !== self.bootId) return false
  if (holder.pidNamespace !== self.pidNamespace) return false
  return (await startTicksOf(holder.pid)) === holder.startTicks
}

/** Field 22 of proc(5) stat; the name before it may hold brackets and spaces, so the last bracket counts. */
async function startTicksOf(pid: number): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  return text?.slice(text.lastIndexOf(')') + 2).split(' ')[19]
}

interface Found {
  readonly text: string
  /** Undefined when the text makes no sense: left by a crash of the machine. */
  readonly holder: Holder | undefined
}

function readHolder(path: string): Found | undefined {
  try {
    const text = lockText(path)
    return { text, holder: parseHolder(text) }
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

/** Empty for what is no lock of ours, which is then taken away like one that makes no sense. */
function lockText(path: string): string {
  let fd: number
  try {
    // As openRegularFile does it, at once: a start waits for it.
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    if (codeOf(error) === 'ELOOP') return ''
    throw error
  }
  try {
    const found = fstatSync(fd)
    return found.isFile() && found.size <= MAX_LOCK_BYTES ? readFileSync(fd, 'utf8') : ''
  } finally {
    closeSync(fd)
  }
}

function parseHolder(text: string): Holder | undefined {
  try {
    const value = JSON.parse(text) as Partial<Record<keyof Holder, unknown>> | null
    return typeof value?.pid === 'number' && typeof value.epoch === 'string' ? (value as Holder) : undefined
  } catch {
    return undefined
  }
}

/** The lock appears with all its text or not at all, and only if there is none. */
async function createWhole(path: string, text: string): Promise<boolean> {
  const temporary = asideName(path)
  try {
    await writeNew(temporary, text, { mode: 0o600 })
    await link(temporary, path)
    return true
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false
    throw error
  } finally {
    await removeFile(temporary)
  }
}

async function replace(path: string, text: string): Promise<void> {
  const temporary = asideName(path)
  try {
    await writeNew(temporary, text, { mode: 0o600 })
    await rename(temporary, path)
  } finally {
    await removeFile(temporary)
  }
}

/**
 * Removes the lock that was judged, and no other: between the judgement and now somebody else may have taken it
 * over. Renaming is atomic, so what was moved can be looked at in peace and put back.
 */
async function removeExactly(path: string, text: string): Promise<boolean> {
  const aside = asideName(path)
  try {
    await rename(path, aside)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false
    throw error
  }
  try {
    if (lockText(aside) === text) return true
    await link(aside, path).catch(() => undefined)
    return false
  } finally {
    await removeFile(aside)
  }
}

function asideName(path: string): string {
  return temporaryName(path, randomBytes(6).toString('hex'), 0)
}
