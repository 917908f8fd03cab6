import { constants } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { codeOf } from '../../../base/errors.js'

/**
 * Opens a file for reading; undefined for what is none. Who may write to the directory could put a link there, to
 * be read with our rights, or a pipe, which without O_NONBLOCK would hold a thread of Node's pool for ever.
 *
 * @throws the system's error.
 */
export async function openRegularFile(path: string): Promise<FileHandle | undefined> {
  let file: FileHandle
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    if (codeOf(error) === 'ELOOP') return undefined
    throw error
  }
  try {
    if ((await file.stat()).isFile()) return file
  } catch (error) {
    await file.close()
    throw error
  }
  await file.close()
  return undefined
}
