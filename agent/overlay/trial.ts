import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { reasonOf } from '../../config/errors.js'
import { MountCallError, type MountCalls } from '../system/mount-calls.js'
import { overlayOptions } from './overlay-layers.js'

/** What has passed stays, so that the next start need only mount it. */
const KEPT = '.overlay-trial'

/**
 * Whether overlays work with their layers in `folder`: by mounting one and deleting in it. Some file systems
 * (network ones, an overlay itself) take the mount and then cannot hold the marks of what was deleted.
 * All in one go: mounting holds us up anyway, and through the thread pool these few calls take ten times as long.
 *
 * @returns why not, or undefined when it works.
 */
export function tryOverlay(folder: string, calls: MountCalls): string | undefined {
  const kept = join(folder, KEPT)
  if (existsSync(kept)) {
    if (stillWorks(kept, calls)) return undefined
    rmSync(kept, { recursive: true, force: true })
  }
  const scratch = mkdtempSync(join(folder, `${KEPT}-`))
  try {
    for (const name of ['lower', 'upper', 'work', 'merged']) mkdirSync(join(scratch, name))
    mkdirSync(join(scratch, 'lower', 'folder'))
    for (const name of ['file', 'folder/file']) writeFileSync(join(scratch, 'lower', name), '')
    const reason = whileMounted(scratch, calls, deleteIn)
    if (reason !== undefined) return reason
    renameSync(scratch, kept)
    return undefined
  } catch (error) {
    if (error instanceof MountCallError) return whyRefused(error)
    return reasonOf(error)
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

/** What was deleted in it has stayed so. */
function stillWorks(kept: string, calls: MountCalls): boolean {
  try {
    return whileMounted(kept, calls, whatCameBack) === undefined
  } catch {
    return false
  }
}

function whileMounted<T>(folder: string, calls: MountCalls, look: (merged: string) => T): T {
  const at = (name: string): string => join(folder, name)
  const layers = { lower: at('lower'), upper: at('upper'), work: at('work') }
  calls.mount('discobot-trial', at('merged'), 'overlay', overlayOptions(layers))
  try {
    return look(at('merged'))
  } finally {
    calls.unmount(at('merged'), 'detach')
  }
}

function deleteIn(merged: string): string | undefined {
  // A device node marks a file as deleted, an attribute says that a folder is not the one below.
  unlinkSync(join(merged, 'file'))
  unlinkSync(join(merged, 'folder', 'file'))
  rmdirSync(join(merged, 'folder'))
  mkdirSync(join(merged, 'folder'))
  return whatCameBack(merged)
}

function whatCameBack(merged: string): string | undefined {
  const left = [...readdirSync(merged), ...readdirSync(join(merged, 'folder'))]
  return left.join() === 'folder' ? undefined : 'what is deleted comes back'
}

function whyRefused({ errno, message }: MountCallError): string {
  switch (errno) {
    case 'EPERM':
    case 'EACCES':
      return 'mounting is not permitted'
    case 'ENODEV':
      return 'the kernel has no overlays'
    case 'EINVAL':
      return 'the file system there cannot hold one'
    default:
      return message
  }
}
