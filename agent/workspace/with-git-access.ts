import type { Logger } from '../../config/logger.js'
import type { Environment } from '../environment.js'
import type { Clock } from '../init/clock.js'
import type { WorkspaceOptions } from '../options.js'
import type { Account } from '../services/run-as.js'
import type { CommandOptions, RunCommand } from '../system/command.js'
import { openGitAccess } from './git-access.js'
import { gitProgress } from './git-progress.js'
import type { GitSource } from './source.js'

/** What everything that runs git needs. */
export interface GitDeps {
  readonly options: WorkspaceOptions
  readonly runtimeDir: string
  /** Who owns the workspace, looked up when a step runs; resolves with undefined for ourselves. */
  readonly owner: () => Promise<Account | undefined>
  /** Environment of git and cp, without secrets. */
  readonly env: Environment
  readonly run: RunCommand
  readonly logger: Logger
  readonly clock: Clock
}

/** Commands as the workspace's owner, without secrets. */
export function ownerCommand(
  env: Environment,
  owner: Account | undefined,
  signal: AbortSignal,
): CommandOptions {
  // What git says is matched against: in one language.
  return {
    env: { ...env, LC_ALL: 'C' },
    cwd: '/',
    signal,
    ...(owner === undefined ? {} : { user: owner.name }),
  }
}

/**
 * Has `use` run git with the secrets at hand, and removes every trace of them after it.
 *
 * @throws GitAccessError when they cannot be used, and whatever `use` throws.
 */
export async function withGitAccess<Result>(
  { options, runtimeDir, logger, clock }: GitDeps,
  request: {
    readonly source: GitSource
    readonly owner: Account | undefined
    readonly command: CommandOptions
    readonly submodules?: boolean
  },
  use: (command: CommandOptions) => Promise<Result>,
): Promise<Result> {
  const { gitToken, gitSshKey, gitKnownHosts } = options
  const { source, owner, command, submodules = false } = request
  const access = await openGitAccess({
    source,
    secrets: {
      ...(gitToken === undefined ? {} : { token: gitToken }),
      ...(gitSshKey === undefined ? {} : { sshKey: gitSshKey }),
      ...(gitKnownHosts === undefined ? {} : { knownHostsFile: gitKnownHosts }),
    },
    runtimeDir,
    ...(owner === undefined ? {} : { owner }),
    ownSettings: owner === undefined,
    submodules,
  })
  try {
    return await use({
      ...command,
      env: { ...command.env, ...access.env },
      secrets: access.secrets,
      onOutput: gitProgress(logger, () => clock.now()),
    })
  } finally {
    await access.release()
  }
}
