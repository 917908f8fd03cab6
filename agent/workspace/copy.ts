import { realpath, stat } from 'node:fs/promises'
import { dirname, sep } from 'node:path'
import { codeOf } from '../../base/errors.js'
import { CommandError, type CommandOptions, type RunCommand } from '../system/command.js'
import { WorkspaceSourceError } from './source.js'

/**
 * Copies a directory with links, modes and times, as the account that will own it. What that account may not read is
 * left out.
 *
 * @param into must not exist yet; its parent must.
 * @returns what was left out, as cp says it.
 * @throws WorkspaceSourceError when the source is no directory, or one of the two holds the other;
 *   CommandError from cp.
 */
export async function copyInto(
  source: string,
  into: string,
  workspace: string,
  run: RunCommand,
  command: CommandOptions,
): Promise<readonly string[]> {
  const from = await realSource(source)
  const parent = await realpath(dirname(into))
  const target = workspace.replace(dirname(workspace), parent)
  if (holds(from, target) || holds(target, from)) {
    throw new WorkspaceSourceError(
      `cannot copy ${source} into ${workspace}: one lies within the other; name another DISCOBOT_WORKSPACE or DISCOBOT_DATA_DIR`,
    )
  }
  await run(['mkdir', '--', into], command)
  try {
    await run(['cp', '-a', '--', `${from}/.`, into], command)
    return []
  } catch (error) {
    const leftOut = whatWasLeftOut(error, from)
    if (leftOut === undefined) throw error
    return leftOut
  }
}

/** Undefined when something else is wrong too, or nothing could be read at all. */
function whatWasLeftOut(error: unknown, from: string): readonly string[] | undefined {
  if (!(error instanceof CommandError) || error.exitCode !== 1) return undefined
  const lines = error.stderr.split('\n').filter((line) => line.trim() !== '')
  // Of what is longer than is kept, the first line is the end of one.
  if (lines.length > 1 && !/^cp: /.test(lines[0] ?? '')) lines.shift()
  const isRefusal = (line: string): boolean => /: (Permission denied|Operation not permitted)$/.test(line)
  if (lines.length === 0 || !lines.every(isRefusal)) return undefined
  return lines.some((line) => line.includes(`${from}/.'`)) ? undefined : lines
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
