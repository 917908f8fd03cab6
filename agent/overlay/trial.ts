import { mkdirSync, mkdtempSync, readdirSync, rmdirSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { reasonOf } from '../../config/errors.js'
import { MountCallError, type MountCalls } from '../system/mount-calls.js'
import { overlayOptions } from './overlay-layers.js'

/**
 * Whether overlays work with their layers in `folder`: by mounting one and deleting in it. Some file systems
 * (network ones, an overlay itself) take the mount and then cannot hold the marks of what was deleted.
 * All in one go: mounting holds us up anyway, and through the thread pool these few calls take ten times as long.
 *
 * @returns why not, or undefined when it works.
 */
export function tryOverlay(folder: string, calls: MountCalls): string | undefined {
  const scratch = mkdtempSync(join(folder, '.overlay-trial-'))
  const at = (...names: string[]): string => join(scratch, ...names)
  try {
    for (const name of ['lower', 'upper', 'work', 'merged']) mkdirSync(at(name))
    mkdirSync(at('lower', 'folder'))
    for (const name of ['file', 'folder/file']) writeFileSync(at('lower', name), '')
    const layers = { lower: at('lower'), upper: at('upper'), work: at('work') }
    calls.mount('discobot-trial', at('merged'), 'overlay', overlayOptions(layers))
    try {
      return deleteIn(at('merged'))
    } finally {
      calls.unmount(at('merged'), 'detach')
    }
  } catch (error) {
    if (error instanceof MountCallError) return whyRefused(error)
    return reasonOf(error)
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

function deleteIn(merged: string): string | undefined {
  // A device node marks a file as deleted, an attribute says that a folder is not the one below.
  unlinkSync(join(merged, 'file'))
  unlinkSync(join(merged, 'folder', 'file'))
  rmdirSync(join(merged, 'folder'))
  mkdirSync(join(merged, 'folder'))
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
