import { CommandError, type CommandOptions, type RunCommand } from '../system/command.js'
import { reasonAndRemedy } from './remedy.js'
import { eachRepository } from './repositories.js'
import type { Completed } from './submodules.js'

interface LargeFilesOptions {
  readonly workspace: string
  readonly run: RunCommand
  readonly command: CommandOptions
  /** Gets at the servers. */
  readonly withSecrets: CommandOptions
}

/**
 * Puts the files that git-lfs keeps in place of their pointers, in the workspace and its submodules; one that somebody
 * has changed meanwhile stays. Also sets each clone up for git-lfs, which not every image has done for all.
 *
 * @returns how many repositories have such files. @throws CommandError, also where git-lfs is not installed.
 */
export async function fetchLargeFiles(options: LargeFilesOptions): Promise<Completed> {
  const { workspace, run, command, withSecrets } = options
  const failures: string[] = []
  let count = 0
  await eachRepository(workspace, { run, command }, async (folder) => {
    if (!(await usesLargeFiles(folder, run, command))) return
    count += 1
    // Puts hooks into the clone, which the other has none of.
    await run(['git', 'lfs', 'install', '--local'], { ...command, cwd: folder })
    await run(['git', 'lfs', 'pull'], { ...withSecrets, cwd: folder }).catch((error: unknown) => {
      command.signal.throwIfAborted()
      failures.push(`${folder.slice(workspace.length + 1) || '.'}: ${reasonAndRemedy(error)}`)
    })
  })
  return { count, failures }
}

/** The attribute is in no other place. */
async function usesLargeFiles(folder: string, run: RunCommand, command: CommandOptions): Promise<boolean> {
  const attributes = ':(glob)**/.gitattributes'
  try {
    await run(['git', 'grep', '--quiet', '-e', 'filter=lfs', '--', attributes], { ...command, cwd: folder })
    return true
  } catch (error) {
    if (error instanceof CommandError && error.exitCode === 1) return false
    throw error
  }
}
