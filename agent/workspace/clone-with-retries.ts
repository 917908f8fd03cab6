import type { Account } from '../process/run-as.js'
import { CommandError, type CommandOptions } from '../system/command.js'
import { cloneInto, type CheckedOut } from './clone.js'
import { historyFor } from './history.js'
import { reasonAndRemedy } from './remedy.js'
import { requireRef, type GitSource } from './source.js'
import { withGitAccess, type GitDeps } from './with-git-access.js'

/** Of a clone whose connection broke. Two of them bridge the restart of a server, and no more is gained by more. */
const RETRY_AFTER_MS = [1_000, 4_000]
/** What git and curl say of a connection that broke off, as opposed to one that was never had. */
const BROKEN_OFF =
  /early EOF|unexpected disconnect|RPC failed|connection (was )?reset|remote end hung up|error: 50[234]/i

/**
 * Clones with the secrets at hand, anew when the connection breaks off in the middle.
 *
 * @throws CommandError, WorkspaceSourceError, GitAccessError
 */
export async function cloneWithRetries(
  deps: GitDeps,
  source: GitSource,
  into: string,
  owner: Account | undefined,
  command: CommandOptions,
): Promise<CheckedOut> {
  const { gitToken, ref, history = { kind: 'auto' } } = deps.options
  if (ref !== undefined) requireRef(ref)
  const withSecret = gitToken !== undefined || source.credentials !== undefined
  const request = { source, owner, command }
  return withGitAccess(deps, request, async (withSecrets) => {
    const once = (): Promise<CheckedOut> =>
      cloneInto({
        source,
        ...(ref === undefined ? {} : { ref }),
        history: historyFor(history, source, withSecret),
        into,
        run: deps.run,
        command: withSecrets,
      })
    for (const pauseMs of RETRY_AFTER_MS) {
      try {
        return await once()
      } catch (error) {
        if (!(error instanceof CommandError) || !BROKEN_OFF.test(error.stderr)) throw error
        deps.logger.warn(
          { reason: reasonAndRemedy(error), pauseMs },
          'the clone broke off and is tried again',
        )
        await deps.run(['rm', '-rf', '--', into], command)
        await deps.clock.sleep(pauseMs, command.signal)
      }
    }
    return once()
  })
}
