import { mkdir, mkdtemp, readdir, rm, rmdir, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { reasonOf } from '../../config/errors.js'
import { MountCallError, type MountCalls } from '../system/mount-calls.js'
import { overlayOptions } from './overlay-layers.js'

/**
 * Whether overlays work with their layers in `folder`: by mounting one and deleting in it. Some file systems
 * (network ones, an overlay itself) take the mount and then cannot hold the marks of what was deleted.
 *
 * @returns why not, or undefined when it works.
 */
export async function tryOverlay(folder: string, calls: MountCalls): Promise<string | undefined> {
  const scratch = await mkdtemp(join(folder, '.overlay-trial-'))
  const at = (...names: string[]): string => join(scratch, ...names)
  try {
    for (const name of ['lower', 'upper', 'work', 'merged']) await mkdir(at(name))
    await mkdir(at('lower', 'folder'))
    for (const name of ['file', 'folder/file']) await writeFile(at('lower', name), '')
    const layers = { lower: at('lower'), upper: at('upper'), work: at('work') }
    calls.mount('discobot-trial', at('merged'), 'overlay', overlayOptions(layers))
    try {
      return await deleteIn(at('merged'))
    } finally {
      calls.unmount(at('merged'), 'detach')
    }
  } catch (error) {
    if (error instanceof MountCallError) return whyRefused(error)
    return reasonOf(error)
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

async function deleteIn(merged: string): Promise<string | undefined> {
  // A device node marks a file as deleted, an attribute says that a folder is not the one below.
  await unlink(join(merged, 'file'))
  await unlink(join(merged, 'folder', 'file'))
  await rmdir(join(merged, 'folder'))
  await mkdir(join(merged, 'folder'))
  const left = [...(await readdir(merged)), ...(await readdir(join(merged, 'folder')))]
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
