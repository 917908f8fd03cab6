import type { Logger } from '../../base/log/logger.js'
import type { Environment } from '../settings/environment.js'
import type { Clock } from '../process/clock.js'
import type { WorkspaceOptions } from '../settings/options.js'
import type { Account } from '../process/run-as.js'
import type { CommandOptions, RunCommand } from '../system/command.js'
import { openGitAccess } from './git-access.js'
import { gitProgress } from './git-progress.js'
import type { GitSource } from './source.js'

/** What everything that runs git needs. */
export interface GitDeps {
  readonly options: WorkspaceOptions
  readonly runtimeDir: string
  /** Where we write down what we have cloned (clone-record.ts). */
  readonly recordFile: string
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
    /** `none`: what git finds on its way may be the agent's. As it runs elsewhere, but with nothing to give away. */
    readonly secrets?: 'all' | 'none'
  },
  use: (command: CommandOptions) => Promise<Result>,
): Promise<Result> {
  const { gitToken, gitSshKey, gitKnownHosts } = options
  const { owner, command, submodules = false, secrets = 'all' } = request
  const { credentials: _withheld, ...bare } = request.source
  const source = secrets === 'all' ? request.source : bare
  const { SSH_AUTH_SOCK: _agent, ...withoutAgent } = command.env
  const access = await openGitAccess({
    source,
    secrets: {
      ...(gitToken === undefined || secrets === 'none' ? {} : { token: gitToken }),
      ...(gitSshKey === undefined || secrets === 'none' ? {} : { sshKey: gitSshKey }),
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
      env: { ...(secrets === 'all' ? command.env : withoutAgent), ...access.env },
      secrets: access.secrets,
      onOutput: gitProgress(logger, () => clock.now()),
    })
  } finally {
    await access.release()
  }
}
