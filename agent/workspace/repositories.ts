import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { CommandOptions, RunCommand } from '../system/command.js'

/** A repository whose submodules are itself would never end. Deeper than anything people make. */
const MAX_DEPTH = 8
const GITLINK = /^160000 [0-9a-f]+ \d\t(.+)$/s

interface RepositoryDeps {
  readonly run: RunCommand
  /** Without secrets. */
  readonly command: CommandOptions
}

/**
 * The submodules of one repository: the entries of its index that are one and that `.gitmodules` knows. An entry that
 * it does not know, which many a repository has by accident, makes `git submodule` stop before the others.
 *
 * @returns paths within it. @throws CommandError
 */
async function submodulesOf(folder: string, { run, command }: RepositoryDeps): Promise<string[]> {
  if ((await lstat(join(folder, '.gitmodules')).catch(() => undefined))?.isFile() !== true) return []
  const git = (...args: string[]): Promise<string> => run(['git', ...args], { ...command, cwd: folder })
  const index = await git('ls-files', '--stage', '-z')
  const linked = index.split('\0').flatMap((entry) => GITLINK.exec(entry)?.[1] ?? [])
  if (linked.length === 0) return []
  const listed = await git(
    'config',
    '--file',
    '.gitmodules',
    '-z',
    '--get-regexp',
    String.raw`^submodule\..*\.path$`,
  )
  const known = new Set(listed.split('\0').map((entry) => entry.slice(entry.indexOf('\n') + 1)))
  return linked.filter((path) => known.has(path))
}

/** Whether a submodule has been checked out; one that was only cloned, when something broke off, has no file yet. */
export async function isCheckedOut(folder: string): Promise<boolean> {
  const names: string[] = await readdir(folder).catch(() => [])
  return names.includes('.git') && names.length > 1
}

/**
 * The repository and all submodules below it that are checked out, the outer ones first.
 *
 * @param enter before a repository's own submodules are looked at.
 */
export async function eachRepository(
  folder: string,
  deps: RepositoryDeps,
  enter: (folder: string, submodules: readonly string[]) => Promise<void>,
  depth = 0,
): Promise<void> {
  const submodules = await submodulesOf(folder, deps)
  await enter(folder, submodules)
  if (depth === MAX_DEPTH) return
  for (const path of submodules) {
    const inner = join(folder, path)
    if (await isCheckedOut(inner)) await eachRepository(inner, deps, enter, depth + 1)
  }
}
