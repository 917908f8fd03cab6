import { basename, dirname, join } from 'node:path'
import { readdir } from '../../base/files/files-at-once.js'
import { codeOf } from '../../base/errors.js'
import type { CommandOptions, RunCommand } from '../system/command.js'
import { besides, type HeldFolder } from '../system/held-folder.js'

/** What is at the place of the workspace before anything is done. */
export type Existing =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'empty' }
  | {
      readonly kind: 'filled'
      readonly hasGit: boolean
      readonly branch?: string
      readonly origin?: string
    }
  | { readonly kind: 'not-a-folder' }

/**
 * Looks without running git: a warm boot has no time for it. By descriptor: the folder is the agent's, and we are root.
 */
export async function whatExists(path: string): Promise<Existing> {
  try {
    return besides(path, (parent, name) => {
      const found = parent.find(name)
      if (found === undefined) return { kind: 'nothing' }
      if (!found.isDirectory()) return { kind: 'not-a-folder' }
      const folder = parent.enter(name)
      try {
        return lookInto(folder)
      } finally {
        folder.close()
      }
    })
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return { kind: 'nothing' }
    throw error
  }
}

function lookInto(folder: HeldFolder): Existing {
  // `lost+found` is what makes an empty volume look used.
  if (folder.names().every((name) => name === 'lost+found')) return { kind: 'empty' }
  if (folder.find('.git')?.isDirectory() !== true) return { kind: 'filled', hasGit: false }
  const git = folder.enter('.git')
  try {
    const branch = /^ref: refs\/heads\/(.+)$/m.exec(textOf(git, 'HEAD'))?.[1]
    // Only for people to read: whoever works in the clone can change it.
    const [, origin] =
      /^\[remote "origin"\]\n(?:\t(?!url\b).*\n)*\turl = (.*)$/m.exec(textOf(git, 'config')) ?? []
    return {
      kind: 'filled',
      hasGit: true,
      ...(branch === undefined ? {} : { branch }),
      ...(origin === undefined ? {} : { origin }),
    }
  } finally {
    git.close()
  }
}

function textOf(folder: HeldFolder, name: string): string {
  try {
    return folder.read(name)?.text ?? ''
  } catch {
    // A link, a pipe: nothing of git's.
    return ''
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

/**
 * Gives the finished folder its name. Over a mount point nothing can be renamed, so there its content is copied
 * in, by the account it belongs to, `.git` last.
 */
export async function settle(
  partial: string,
  workspace: string,
  run: RunCommand,
  command: CommandOptions,
): Promise<void> {
  const named = besides(workspace, (parent, name) => {
    try {
      parent.rmdir(name)
    } catch (error) {
      const code = codeOf(error)
      if (code === 'EBUSY' || code === 'ENOTEMPTY') return false
      if (code !== 'ENOENT') throw error
    }
    parent.rename(basename(partial), name)
    return true
  })
  if (!named) await fillMountPoint(partial, workspace, run, command)
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
