import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { access, open, realpath, rename, rm, stat } from 'node:fs/promises'
import { codeOf, reasonOf } from '../../base/errors.js'
import { PersistError } from './errors.js'

/**
 * Replaces a file whole, keeping its mode and owner; a link stays a link.
 *
 * @throws PersistError naming what stands in the way; the file is untouched then.
 */
export async function replaceFile(path: string, text: string): Promise<void> {
  let temporary: string | undefined
  try {
    const real = await realpath(path)
    // A file that may not be written is not to be replaced either, though its folder would allow that.
    await access(real, constants.W_OK)
    const { mode, uid, gid } = await stat(real)
    temporary = `${real}.${randomBytes(6).toString('hex')}.tmp`
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.writeFile(text)
      const made = await file.stat()
      if (made.uid !== uid || made.gid !== gid) await file.chown(uid, gid)
      await file.chmod(mode & 0o7777)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, real)
  } catch (error) {
    if (temporary !== undefined) await rm(temporary, { force: true }).catch(() => undefined)
    throw new PersistError(`cannot write ${path}: ${why(error)}`, { cause: error })
  }
}

function why(error: unknown): string {
  switch (codeOf(error)) {
    case 'EACCES':
    case 'EROFS':
      return 'the file or its folder may not be written'
    case 'EPERM':
      return 'its owner and mode could not be kept'
    case 'EBUSY':
      return 'it is mounted by itself, so it cannot be replaced; mount its folder'
    default:
      return reasonOf(error)
  }
}
