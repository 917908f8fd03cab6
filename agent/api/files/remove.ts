import type { Dirent } from 'node:fs'
import { lstat, opendir, rmdir, unlink } from 'node:fs/promises'
import type { IncomingHttpHeaders } from 'node:http'
import { refuse } from '../../../base/http/problem.js'
import { refuseSystemError } from './system-refusal.js'
import type { Folder, Place, WorkspaceTree } from './tree.js'
import { beliefOf, checkBelief } from './version.js'

/** Each level holds a descriptor open while what is below it goes. */
const MAX_DEPTH = 256

/** Removes the name at `path`: of a link the link, never what it names. */
export async function removePath(
  tree: WorkspaceTree,
  path: string,
  recursive: boolean,
  headers: IncomingHttpHeaders,
): Promise<void> {
  const { ifMatch } = beliefOf(headers)
  const place = await tree.place(path)
  const { folder, name } = place
  try {
    const stats = await lstat(folder.at(name), { bigint: true })
    if (ifMatch !== undefined) checkBelief({ ifMatch }, stats)
    if (!stats.isDirectory()) await unlink(folder.at(name))
    else if (recursive) await removeFolder(place, 0)
    else await rmdir(folder.at(name))
  } catch (error) {
    refuseSystemError(error, path)
  } finally {
    await folder.close()
  }
}

/** From open folder to open folder, so that no link put there meanwhile leads the removal elsewhere. */
async function removeFolder({ folder, name }: Place, depth: number): Promise<void> {
  if (depth > MAX_DEPTH) refuse(409, `folders are nested deeper than ${MAX_DEPTH}`)
  const inside = await folder.below(name)
  try {
    for await (const entry of (await opendir(inside.path)) as AsyncIterable<Dirent>) {
      await removeEntry(inside, entry, depth)
    }
  } finally {
    await inside.close()
  }
  await rmdir(folder.at(name))
}

async function removeEntry(folder: Folder, entry: Dirent, depth: number): Promise<void> {
  if (entry.isDirectory()) await removeFolder({ folder, name: entry.name }, depth + 1)
  else await unlink(folder.at(entry.name))
}
