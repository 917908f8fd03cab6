import { CommandError, type CommandOptions, type RunCommand } from '../system/command.js'

export interface LargeFilesOptions {
  readonly workspace: string
  readonly run: RunCommand
  readonly command: CommandOptions
}

/** Whether files of the work tree are kept by git-lfs: the attribute is in no other place. */
export async function usesLargeFiles({ workspace, run, command }: LargeFilesOptions): Promise<boolean> {
  const attributes = ':(glob)**/.gitattributes'
  try {
    const grep = ['grep', '--quiet', '--recurse-submodules', '-e', 'filter=lfs', '--', attributes]
    await run(['git', ...grep], { ...command, cwd: workspace })
    return true
  } catch (error) {
    if (error instanceof CommandError && error.exitCode === 1) return false
    throw error
  }
}

/**
 * Puts the files in place of their pointers; one that somebody has changed meanwhile stays. Also sets the clone up
 * for git-lfs, which not every image has done for all.
 *
 * @throws CommandError, also where git-lfs is not installed.
 */
export async function fetchLargeFiles({ workspace, run, command }: LargeFilesOptions): Promise<void> {
  const git = (...args: string[]): Promise<string> => run(['git', ...args], { ...command, cwd: workspace })
  await git('lfs', 'install', '--local')
  await git('lfs', 'pull')
  await git('submodule', '--quiet', 'foreach', '--recursive', 'git lfs install --local && git lfs pull')
}
