import { opendir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { META_SUFFIX, cacheFile } from '../entry/file-names.js'

export interface Swept {
  /** Names of entries that have both their files. */
  readonly names: readonly string[]
  /** How many files of interrupted runs were removed. */
  readonly leftovers: number
}

/** Names read at once: 200,000 in one go would reach the event loop as one piece of work, with hits waiting. */
const NAMES_PER_READ = 1024

/**
 * Removes what a crash left behind: temporary files of other runs, bodies without meta, metas without body. No
 * entry may be committed meanwhile, as its body would look like one without meta.
 *
 * @throws the system's error.
 */
export async function sweep(dir: string, run: string): Promise<Swept> {
  const bodies = new Set<string>()
  const metas = new Set<string>()
  const leftovers: string[] = []
  for await (const item of await opendir(dir, { bufferSize: NAMES_PER_READ })) {
    const { name: file } = item
    // We make no folders, so whatever its name, what is in it is somebody's.
    const found = item.isDirectory() ? undefined : cacheFile(file)
    if (found?.kind === 'body') bodies.add(found.name)
    else if (found?.kind === 'meta') metas.add(found.name)
    else if (found?.kind === 'temporary' && found.run !== run) leftovers.push(file)
  }
  const names: string[] = []
  for (const name of bodies) (metas.has(name) ? names : leftovers).push(name)
  for (const name of metas) if (!bodies.has(name)) leftovers.push(name + META_SUFFIX)
  for (const file of leftovers) await rm(join(dir, file), { force: true })
  return { names, leftovers: leftovers.length }
}
