import type { FileAttributes } from '../../base/files/files-at-once.js'
import { besides, isAbsent, type HeldFolder } from './held-folder.js'

/**
 * The file appears whole, with its owner and mode, or not at all. Some of the folders we write to belong to
 * less trusted accounts: no link of theirs is followed, neither on the way nor under the file's own name.
 *
 * @throws UntrustedPathError
 */
export async function writeFileAtomically(
  path: string,
  content: string,
  attributes: FileAttributes,
): Promise<void> {
  besides(path, (folder, name) => folder.write(name, content, attributes))
}

/** As `writeFileAtomically`, unless the file is like that already. Resolves with whether it was written. */
export async function ensureFile(
  path: string,
  content: string,
  attributes: FileAttributes,
): Promise<boolean> {
  return besides(path, (folder, name) => {
    if (isLike(folder, name, content, attributes)) return false
    folder.write(name, content, attributes)
    return true
  })
}

/** The text of a plain file, or undefined when there is none. @throws UntrustedPathError */
export async function readIfPresent(path: string): Promise<string | undefined> {
  try {
    return besides(path, (folder, name) => folder.read(name)?.text)
  } catch (error) {
    if (isAbsent(error)) return undefined
    throw error
  }
}

function isLike(folder: HeldFolder, name: string, content: string, { mode, owner }: FileAttributes): boolean {
  const found = folder.find(name)
  if (found === undefined || !found.isFile() || (found.mode & 0o7777) !== mode) return false
  if (owner !== undefined && (found.uid !== owner.uid || found.gid !== owner.gid)) return false
  const read = folder.read(name)
  return read?.stats.ino === found.ino && read.text === content
}
