import { basename, dirname, join } from 'node:path'
import { lstat, readdir, readFile, rename, rmdir } from '../../config/files-at-once.js'
import { codeOf } from '../../config/errors.js'
import { writeFileAtomically, type FileAttributes } from '../system/atomic-file.js'
import type { CommandOptions, RunCommand } from '../system/command.js'

/** What a complete clone says of itself, inside its `.git`, where no work tree sees it. */
export interface Mark {
  readonly source: string
  readonly ref: string
  /** What has not been fetched yet. */
  readonly pending: readonly Extra[]
}

/** Parts of a repository that a clone does not bring. */
export const EXTRAS = ['submodules', 'lfs'] as const
export type Extra = (typeof EXTRAS)[number]

const MARK_FILE = join('.git', 'discobot-workspace.json')

/** What is at the place of the workspace before anything is done. */
export type Existing =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'empty' }
  | { readonly kind: 'filled'; readonly mark?: Mark; readonly branch?: string }
  | { readonly kind: 'not-a-folder' }

/** Looks without running git: a warm boot has no time for it. */
export async function whatExists(path: string): Promise<Existing> {
  const found = await lstat(path).catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  })
  if (found === undefined) return { kind: 'nothing' }
  if (!found.isDirectory()) return { kind: 'not-a-folder' }
  const names = await readdir(path)
  // `lost+found` is what makes an empty volume look used.
  if (names.every((name) => name === 'lost+found')) return { kind: 'empty' }
  const mark = await readMark(path)
  const branch = await readBranch(path)
  return {
    kind: 'filled',
    ...(mark === undefined ? {} : { mark }),
    ...(branch === undefined ? {} : { branch }),
  }
}

/** A sibling of the workspace: on the same file system, so that the rename is one. */
export function partialPath(workspace: string, id: string): string {
  return join(dirname(workspace), `${partialPrefix(workspace)}${id}`)
}

/** What an interrupted boot left beside the workspace. */
export async function findPartials(workspace: string): Promise<string[]> {
  const parent = dirname(workspace)
  const names = await readdir(parent).catch(() => [])
  return names.filter((name) => name.startsWith(partialPrefix(workspace))).map((name) => join(parent, name))
}

function partialPrefix(workspace: string): string {
  return `.${basename(workspace)}.partial-`
}

export async function writeMark(folder: string, mark: Mark, owner: FileAttributes['owner']): Promise<void> {
  const attributes = { mode: 0o644, ...(owner === undefined ? {} : { owner }) }
  await writeFileAtomically(join(folder, MARK_FILE), `${JSON.stringify(mark)}\n`, attributes)
}

/**
 * Gives the finished folder its name. Over a mount point nothing can be renamed, so there its content is copied
 * in, by the account it belongs to, `.git` with the mark last.
 */
export async function settle(
  partial: string,
  workspace: string,
  run: RunCommand,
  command: CommandOptions,
): Promise<void> {
  try {
    await rmdir(workspace)
  } catch (error) {
    const code = codeOf(error)
    if (code === 'EBUSY' || code === 'ENOTEMPTY') {
      await fillMountPoint(partial, workspace, run, command)
      return
    }
    if (code !== 'ENOENT') throw error
  }
  await rename(partial, workspace)
}

async function fillMountPoint(
  partial: string,
  workspace: string,
  run: RunCommand,
  command: CommandOptions,
): Promise<void> {
  const names = (await readdir(partial)).sort((a, b) => Number(a === '.git') - Number(b === '.git'))
  for (const name of names) await run(['cp', '-a', '--', join(partial, name), `${workspace}/`], command)
  await run(['rm', '-rf', '--', partial], command)
}

async function readMark(folder: string): Promise<Mark | undefined> {
  try {
    const mark: unknown = JSON.parse(await readFile(join(folder, MARK_FILE), 'utf8'))
    if (typeof mark !== 'object' || mark === null || !('source' in mark) || !('ref' in mark)) return undefined
    const { source, ref } = mark
    if (typeof source !== 'string' || typeof ref !== 'string') return undefined
    const named = 'pending' in mark && Array.isArray(mark.pending) ? (mark.pending as unknown[]) : []
    return { source, ref, pending: EXTRAS.filter((extra) => named.includes(extra)) }
  } catch {
    return undefined
  }
}

async function readBranch(folder: string): Promise<string | undefined> {
  const head = await readFile(join(folder, '.git', 'HEAD'), 'utf8').catch(() => '')
  return /^ref: refs\/heads\/(.+)$/m.exec(head)?.[1]
}
