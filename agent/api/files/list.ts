import type { BigIntStats, Dirent } from 'node:fs'
import { lstat, opendir } from 'node:fs/promises'
import type { Folder } from './tree.js'

interface Entry {
  readonly name: string
  readonly type: 'file' | 'folder' | 'link' | 'other'
  readonly bytes: number
  /** RFC 3339. */
  readonly modified: string
}

interface Listing {
  /** By name. */
  readonly entries: readonly Entry[]
  /** There is more than is listed. */
  readonly truncated: boolean
}

/** A page of a megabyte, and half a second of lstat(2). */
const MAX_ENTRIES = 10_000
/** As many as the thread pool does at once, and some to wait. */
const BATCH = 32

export async function listFolder(folder: Folder): Promise<Listing> {
  const names: string[] = []
  let truncated = false
  for await (const { name } of (await opendir(folder.path)) as AsyncIterable<Dirent>) {
    truncated = names.length === MAX_ENTRIES
    if (truncated) break
    names.push(name)
  }
  names.sort()
  const entries: Entry[] = []
  for (let at = 0; at < names.length; at += BATCH) {
    const found = await Promise.all(names.slice(at, at + BATCH).map((name) => entryOf(folder, name)))
    entries.push(...found.filter((entry) => entry !== undefined))
  }
  return { entries, truncated }
}

/** Undefined when it is gone meanwhile, or has a name that is not UTF-8 and so cannot be asked for either. */
async function entryOf(folder: Folder, name: string): Promise<Entry | undefined> {
  const stats = await lstat(folder.at(name), { bigint: true }).catch(() => undefined)
  if (stats === undefined) return undefined
  const modified = new Date(Number(stats.mtimeMs)).toISOString()
  return { name, type: typeOf(stats), bytes: Number(stats.size), modified }
}

function typeOf(stats: BigIntStats): Entry['type'] {
  if (stats.isFile()) return 'file'
  if (stats.isDirectory()) return 'folder'
  return stats.isSymbolicLink() ? 'link' : 'other'
}
