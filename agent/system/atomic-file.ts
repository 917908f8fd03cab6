import { randomBytes } from 'node:crypto'
import { lstat, open, readFile, rename, rm } from 'node:fs/promises'
import { codeOf } from '../../config/errors.js'

export interface FileAttributes {
  readonly mode: number
  /** Absent: whoever we are. Needs root otherwise. */
  readonly owner?: { readonly uid: number; readonly gid: number }
}

/**
 * The file appears whole, with its owner and mode, or not at all. Some of the folders we write to belong to
 * less trusted accounts: the new file is opened exclusively and renamed, so a link planted under either name
 * is never followed.
 */
export async function writeFileAtomically(
  path: string,
  content: string,
  attributes: FileAttributes,
): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`
  try {
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.writeFile(content)
      if (attributes.owner !== undefined) await file.chown(attributes.owner.uid, attributes.owner.gid)
      await file.chmod(attributes.mode)
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}

/** As `writeFileAtomically`, unless the file is like that already. Resolves with whether it was written. */
export async function ensureFile(
  path: string,
  content: string,
  attributes: FileAttributes,
): Promise<boolean> {
  if (await isLike(path, content, attributes)) return false
  await writeFileAtomically(path, content, attributes)
  return true
}

/** The text of a file, or undefined when there is none. */
export async function readIfPresent(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

async function isLike(path: string, content: string, { mode, owner }: FileAttributes): Promise<boolean> {
  const found = await lstat(path).catch(() => undefined)
  if (found === undefined || !found.isFile() || (found.mode & 0o7777) !== mode) return false
  if (owner !== undefined && (found.uid !== owner.uid || found.gid !== owner.gid)) return false
  return (await readFile(path, 'utf8')) === content
}
