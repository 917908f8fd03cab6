import { randomBytes } from 'node:crypto'
import { linkSync, lstatSync, renameSync, unlinkSync, type BigIntStats } from 'node:fs'
import { mkdir, open, type FileHandle } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { codeOf } from '../../../base/errors.js'
import { refuse, RefusedRequestError } from '../../../base/http/problem.js'
import { bodyPieces } from '../../../base/http/request-body.js'
import type { Place, WorkspaceTree } from './tree.js'
import { refuseSystemError } from './system-refusal.js'
import { beliefOf, checkBelief, entityTag, type Belief } from './version.js'

interface WriteRequest {
  readonly path: string
  /** Folders missing on the way are made. */
  readonly parents: boolean
  readonly maxBytes: number
  /** A client that sends nothing for so long is given up. */
  readonly stallMs: number
}

interface Written {
  readonly created: boolean
  readonly bytes: number
  readonly tag: string
}

/** Of a new file, before the umask. */
const NEW_MODE = 0o666

/**
 * The body becomes the file, whole or not at all: it goes into a new file beside it, which takes its name at the end.
 * A link within the workspace stays, and what it names is replaced. The mode of what is replaced is kept.
 */
export async function writeFile(
  tree: WorkspaceTree,
  request: IncomingMessage,
  wanted: WriteRequest,
): Promise<Written> {
  const belief = beliefOf(request.headers)
  if (Number(request.headers['content-length'] ?? 0) > wanted.maxBytes) tooLong(wanted)
  const place = await target(tree, wanted)
  try {
    return await replace(place, request, wanted, belief)
  } catch (error) {
    return refuseSystemError(error, wanted.path)
  } finally {
    await place.folder.close()
  }
}

/** Makes a folder, unless it is there. Resolves with whether it was made. */
export async function makeFolder(tree: WorkspaceTree, path: string, parents: boolean): Promise<boolean> {
  const { folder, name } = await tree.place(path, parents)
  try {
    await mkdir(folder.at(name))
    return true
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') return refuseSystemError(error, path)
    if (look({ folder, name })?.isDirectory() === true) return false
    return refuse(409, `${JSON.stringify(path)}: there is something of that name that is no folder`)
  } finally {
    await folder.close()
  }
}

async function target(tree: WorkspaceTree, { path, parents }: WriteRequest): Promise<Place> {
  try {
    return await tree.follow(path)
  } catch (error) {
    if (!(error instanceof RefusedRequestError) || error.problem.status !== 404) throw error
    return await tree.place(path, parents)
  }
}

async function replace(
  place: Place,
  request: IncomingMessage,
  wanted: WriteRequest,
  belief: Belief,
): Promise<Written> {
  const before = checked(place, wanted.path, belief)
  const temporary = place.folder.at(`.discobot-${randomBytes(9).toString('hex')}.tmp`)
  const file = await open(temporary, 'wx', NEW_MODE)
  try {
    const bytes = await receive(request, file, wanted)
    if (before !== undefined) await file.chmod(Number(before.mode) & 0o777)
    await file.datasync()
    await file.close()
    // From here to the end nothing else of ours runs in between, so no other request can.
    const now = checked(place, wanted.path, belief)
    if (belief.ifNoneMatch === undefined) renameSync(temporary, place.folder.at(place.name))
    else {
      // Unlike rename(2), link(2) fails when somebody else has made the name meanwhile.
      linkSync(temporary, place.folder.at(place.name))
      unlinkSync(temporary)
    }
    const after = lstatSync(place.folder.at(place.name), { bigint: true })
    return { created: now === undefined, bytes, tag: entityTag(after) }
  } catch (error) {
    await file.close().catch(() => {})
    remove(temporary)
    throw error
  }
}

/** What is there, if it may be replaced. */
function checked(place: Place, path: string, belief: Belief): BigIntStats | undefined {
  const stats = look(place)
  checkBelief(belief, stats)
  if (stats === undefined || stats.isFile()) return stats
  const what = stats.isDirectory() ? 'a folder' : stats.isSymbolicLink() ? 'a link to nothing' : 'no file'
  return refuse(409, `${JSON.stringify(path)}: it is ${what}`)
}

function look({ folder, name }: Place): BigIntStats | undefined {
  return lstatSync(folder.at(name), { bigint: true, throwIfNoEntry: false })
}

async function receive(request: IncomingMessage, file: FileHandle, wanted: WriteRequest): Promise<number> {
  let bytes = 0
  for await (const piece of bodyPieces(request, () => wanted.stallMs)) {
    bytes += piece.length
    if (bytes > wanted.maxBytes) tooLong(wanted)
    await file.writeFile(piece)
  }
  return bytes
}

function tooLong({ maxBytes }: WriteRequest): never {
  return refuse(413, `a file may have ${maxBytes} bytes`)
}

function remove(path: string): void {
  try {
    unlinkSync(path)
  } catch {
    // It never came to be, or is gone.
  }
}
