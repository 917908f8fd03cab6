import { randomBytes } from 'node:crypto'
import { codeOf } from '../../config/errors.js'
import {
  lstat,
  readFile,
  removeFile,
  rename,
  writeNew,
  type FileAttributes,
} from '../../config/files-at-once.js'

export type { FileAttributes }

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
    await writeNew(temporary, content, attributes)
    await rename(temporary, path)
  } catch (error) {
    await removeFile(temporary)
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
