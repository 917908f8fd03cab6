import { closeSync, constants, existsSync, fstatSync, openSync, realpathSync, statSync } from 'node:fs'
import { join, relative, sep } from 'node:path'
import { codeOf } from '../errors.js'

const READ = constants.O_RDONLY | constants.O_NONBLOCK
const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY
/** Linux's. Elsewhere a descriptor has no path below which a name could be looked up. */
const DESCRIPTORS = '/proc/self/fd'

/**
 * Opens `path` for reading without following a link below `folder`, so that no link turned meanwhile leads elsewhere.
 * The way to the folder itself may have links. Undefined when there is a link below it, or `path` is not below it.
 *
 * @throws the system's error.
 */
export function openBeneath(folder: string, path: string): number | undefined {
  const steps = relative(folder, path).split(sep)
  if (steps.includes('..') || steps.includes('')) return undefined
  return existsSync(DESCRIPTORS) ? openByDescriptors(folder, steps) : openCompared(folder, steps, path)
}

/**
 * Folder by folder, each looked up in the descriptor of the one above it: `/proc/self/fd/N/name` is openat(2), which
 * Node does not have.
 */
function openByDescriptors(folder: string, steps: readonly string[]): number | undefined {
  let at = openSync(folder, FOLDER)
  for (const [index, name] of steps.entries()) {
    const flags = index === steps.length - 1 ? READ : FOLDER
    const above = at
    const place = join(DESCRIPTORS, String(above), name)
    try {
      at = openSync(place, flags | constants.O_NOFOLLOW)
    } catch (error) {
      // open(2): ELOOP for a link; with O_DIRECTORY, ENOTDIR for one as for any other file.
      if (codeOf(error) === 'ELOOP' || codeOf(error) === 'ENOTDIR') return undefined
      // The number of a descriptor means nothing to whoever reads the message.
      if (error instanceof Error) error.message = error.message.replace(place, join(folder, ...steps))
      throw error
    } finally {
      closeSync(above)
    }
  }
  return at
}

/** Where descriptors have no paths: what was opened must be what stands at the place without links. */
function openCompared(folder: string, steps: readonly string[], path: string): number | undefined {
  const fd = openSync(path, READ)
  try {
    const real = realpathSync.native(path)
    const opened = fstatSync(fd)
    const found = statSync(real)
    const isThere = relative(realpathSync.native(folder), real) === steps.join(sep)
    if (isThere && opened.dev === found.dev && opened.ino === found.ino) return fd
  } catch (error) {
    closeSync(fd)
    throw error
  }
  closeSync(fd)
  return undefined
}
