import { lstat } from 'node:fs/promises'
import { join } from 'node:path'
import type { CommandOptions, RunCommand } from '../system/command.js'
import type { FetchedHistory } from './history.js'

export interface SubmodulesOptions {
  readonly workspace: string
  readonly history: FetchedHistory
  readonly run: RunCommand
  readonly command: CommandOptions
}

export async function hasSubmodules(workspace: string): Promise<boolean> {
  return (await lstat(join(workspace, '.gitmodules')).catch(() => undefined))?.isFile() === true
}

/**
 * Checks out the submodules that are not there yet, and theirs. One that is there stays as it is: somebody may be
 * at work in it.
 *
 * @returns how many there are now.
 * @throws CommandError
 */
export async function checkOutSubmodules({
  workspace,
  history,
  run,
  command,
}: SubmodulesOptions): Promise<number> {
  const git = (cwd: string, ...args: string[]): Promise<string> => run(['git', ...args], { ...command, cwd })
  const depth = history.kind === 'shallow' ? ['--depth', String(history.commits)] : []
  const before = parseStatus(await git(workspace, 'submodule', 'status', '--recursive'))
  for (const [parent, paths] of missingByParent(before)) {
    const update = ['submodule', 'update', '--init', '--recursive', '--progress', '--jobs', '4', ...depth]
    await git(join(workspace, parent), ...update, '--', ...paths)
  }
  return parseStatus(await git(workspace, 'submodule', 'status', '--recursive')).length
}

interface Submodule {
  readonly path: string
  readonly missing: boolean
}

/** A sign, the commit, the path, and for those that are there a description in brackets (git-submodule(1)). */
function parseStatus(status: string): Submodule[] {
  return status.split('\n').flatMap((line) => {
    const [, sign, path] = /^(.)[0-9a-f]+ (.+?)(?: \([^()]*\))?$/.exec(line) ?? []
    return path === undefined ? [] : [{ path, missing: sign === '-' }]
  })
}

/** Git takes the paths of the repository it runs in alone, not those of its submodules' submodules. */
function missingByParent(submodules: readonly Submodule[]): Map<string, string[]> {
  const present = submodules.filter(({ missing }) => !missing).map(({ path }) => path)
  const found = new Map<string, string[]>()
  for (const { path } of submodules.filter(({ missing }) => missing)) {
    const parents = present.filter((parent) => path.startsWith(`${parent}/`))
    const parent = parents.sort((a, b) => b.length - a.length)[0] ?? ''
    const own = parent === '' ? path : path.slice(parent.length + 1)
    found.set(parent, [...(found.get(parent) ?? []), own])
  }
  return found
}
