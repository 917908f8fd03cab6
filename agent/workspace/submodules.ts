import { join } from 'node:path'
import type { CommandOptions, RunCommand } from '../system/command.js'
import type { FetchedHistory } from './history.js'
import { reasonAndRemedy } from './remedy.js'
import { eachRepository, isCheckedOut } from './repositories.js'

interface SubmodulesOptions {
  readonly workspace: string
  readonly history: FetchedHistory
  readonly run: RunCommand
  readonly command: CommandOptions
  /** Gets at the servers. */
  readonly withSecrets: CommandOptions
}

/** What became of parts of which each can be had without the others. */
export interface Completed {
  readonly count: number
  /** Reasons, each with the path it is about. */
  readonly failures: readonly string[]
}

/**
 * Checks out the submodules that are not there yet, and theirs. One that is there stays as it is: somebody may be
 * at work in it. One that cannot be had costs none of the others.
 *
 * @throws CommandError when the repository itself cannot be looked at; whatever the signal was aborted with.
 */
export async function checkOutSubmodules(options: SubmodulesOptions): Promise<Completed> {
  const { workspace, history, run, command, withSecrets } = options
  const depth = history.kind === 'shallow' ? ['--depth', String(history.commits)] : []
  // By force: git takes one that was cloned and not checked out for done when its commit is the right one. None of those
  // that are named has a file that could be lost.
  const update = (folder: string, ...paths: string[]): Promise<string> =>
    run(
      [
        'git',
        'submodule',
        'update',
        '--init',
        '--force',
        '--progress',
        '--jobs',
        '4',
        ...depth,
        '--',
        ...paths,
      ],
      {
        ...withSecrets,
        cwd: folder,
      },
    )
  const failures: string[] = []
  let count = 0
  await eachRepository(workspace, { run, command }, async (folder, submodules) => {
    const missing: string[] = []
    for (const path of submodules) if (!(await isCheckedOut(join(folder, path)))) missing.push(path)
    if (missing.length > 0) {
      // All at once is quicker, and one by one gets those that can be had.
      await update(folder, ...missing).catch(async () => {
        for (const path of missing) {
          command.signal.throwIfAborted()
          await update(folder, path).catch((error: unknown) => {
            command.signal.throwIfAborted()
            failures.push(`${join(folder, path).slice(workspace.length + 1)}: ${reasonAndRemedy(error)}`)
          })
        }
      })
    }
    count += submodules.length
  })
  return { count: count - failures.length, failures }
}
