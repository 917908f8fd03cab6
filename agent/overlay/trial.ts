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
import { reasonOf } from '../../base/errors.js'
import { MountCallError, type MountCalls } from '../system/mount-calls.js'
import { overlayOptions } from './overlay-layers.js'

/** What has passed stays, so that the next start need only mount it: the trial with renaming, and the one without. */
const KEPT = { true: '.overlay-trial-renames', false: '.overlay-trial' } as const

/** `works`, and whether folders of the lower one can be renamed there; or why not. */
type Trial = { readonly works: true; readonly rename: boolean } | { readonly reason: string }

/** With renaming where the kernel and the file system have it. */
export function tryOverlay(folder: string, calls: MountCalls): Trial {
  if (tryWith(folder, calls, true) === undefined) return { works: true, rename: true }
  const reason = tryWith(folder, calls, false)
  return reason === undefined ? { works: true, rename: false } : { reason }
}

/**
 * Whether overlays work with their layers in `folder`: by mounting one, and deleting and renaming in it. Some file systems
 * (network ones, an overlay itself) take the mount and then cannot hold the marks of what was deleted.
 * All in one go: mounting holds us up anyway, and through the thread pool these few calls take ten times as long.
 *
 * @returns why not, or undefined when it works.
 */
function tryWith(folder: string, calls: MountCalls, rename: boolean): string | undefined {
  const kept = join(folder, KEPT[`${rename}`])
  if (existsSync(kept)) {
    if (stillWorks(kept, calls, rename)) return undefined
    rmSync(kept, { recursive: true, force: true })
  }
  const scratch = mkdtempSync(`${kept}-`)
  try {
    for (const name of ['lower', 'upper', 'work', 'merged']) mkdirSync(join(scratch, name))
    for (const name of ['folder', 'before']) mkdirSync(join(scratch, 'lower', name))
    for (const name of ['file', 'folder/file', 'before/file']) writeFileSync(join(scratch, 'lower', name), '')
    const reason = whileMounted(scratch, calls, rename, (merged) => changeIn(merged, rename))
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
function stillWorks(kept: string, calls: MountCalls, rename: boolean): boolean {
  try {
    return whileMounted(kept, calls, rename, (merged) => whatIsWrong(merged, rename)) === undefined
  } catch {
    return false
  }
}

function whileMounted<T>(folder: string, calls: MountCalls, rename: boolean, look: (merged: string) => T): T {
  const at = (name: string): string => join(folder, name)
  const layers = { lower: at('lower'), upper: at('upper'), work: at('work') }
  calls.mount('discobot-trial', at('merged'), 'overlay', overlayOptions(layers, rename))
  try {
    return look(at('merged'))
  } finally {
    calls.unmount(at('merged'), 'detach')
  }
}

function changeIn(merged: string, rename: boolean): string | undefined {
  // A device node marks a file as deleted, an attribute says that a folder is not the one below.
  unlinkSync(join(merged, 'file'))
  unlinkSync(join(merged, 'folder', 'file'))
  rmdirSync(join(merged, 'folder'))
  mkdirSync(join(merged, 'folder'))
  if (rename) renameSync(join(merged, 'before'), join(merged, 'after'))
  return whatIsWrong(merged, rename)
}

function whatIsWrong(merged: string, rename: boolean): string | undefined {
  const moved = rename ? 'after' : 'before'
  const left = [...readdirSync(merged).sort(), ...readdirSync(join(merged, 'folder'))]
  if (left.join() !== [moved, 'folder'].sort().join()) return 'what is deleted comes back'
  return readdirSync(join(merged, moved)).join() === 'file' ? undefined : 'what is renamed is empty'
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
