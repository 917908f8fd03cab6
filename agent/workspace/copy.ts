import { realpath, stat } from 'node:fs/promises'
import { dirname, sep } from 'node:path'
import { codeOf } from '../../config/errors.js'
import type { CommandOptions, RunCommand } from '../system/command.js'
import { WorkspaceSourceError } from './source.js'

/**
 * Copies a directory with links, modes and times, as the account that will own it.
 *
 * @param into must not exist yet; its parent must.
 * @throws WorkspaceSourceError when the source is no directory, or one of the two holds the other;
 *   CommandError from cp.
 */
export async function copyInto(
  source: string,
  into: string,
  workspace: string,
  run: RunCommand,
  command: CommandOptions,
): Promise<void> {
  const from = await realSource(source)
  const parent = await realpath(dirname(into))
  const target = workspace.replace(dirname(workspace), parent)
  if (holds(from, target) || holds(target, from)) {
    throw new WorkspaceSourceError(
      `cannot copy ${source} into ${workspace}: one lies within the other; name another DISCOBOT_WORKSPACE or DISCOBOT_DATA_DIR`,
    )
  }
  await run(['mkdir', '--', into], command)
  await run(['cp', '-a', '--', `${from}/.`, into], command)
}

async function realSource(source: string): Promise<string> {
  try {
    const from = await realpath(source)
    if ((await stat(from)).isDirectory()) return from
  } catch (error) {
    if (codeOf(error) !== 'ENOENT' && codeOf(error) !== 'ENOTDIR') throw error
    throw new WorkspaceSourceError(
      `cannot copy DISCOBOT_WORKSPACE ${JSON.stringify(source)}: there is no such directory`,
    )
  }
  throw new WorkspaceSourceError(
    `cannot copy DISCOBOT_WORKSPACE ${JSON.stringify(source)}: it is not a directory`,
  )
}

function holds(outer: string, inner: string): boolean {
  return inner === outer || inner.startsWith(outer === sep ? sep : `${outer}${sep}`)
}
