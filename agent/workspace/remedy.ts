import { DiscobotError, reasonOf } from '../../base/errors.js'
import { CommandError } from '../system/command.js'
import type { WorkspaceSource } from './source.js'

/** There is no workspace as it was asked for; an empty one takes its place. */
export class WorkspaceError extends DiscobotError {
  readonly code = 'WORKSPACE_UNAVAILABLE'
}

/** The workspace is there, without a part that its repository keeps elsewhere. */
export class WorkspaceIncompleteError extends DiscobotError {
  readonly code = 'WORKSPACE_INCOMPLETE'
}

/** What git and ssh print (LC_ALL=C) → what the operator can do about it. First match wins. */
const REMEDIES: readonly (readonly [RegExp, string])[] = [
  [/host key verification failed/i, "put the host's key into the file DISCOBOT_GIT_KNOWN_HOSTS names"],
  [/permission denied \(publickey/i, 'give a key with access in DISCOBOT_GIT_SSH_KEY'],
  [
    /could not read username|terminal prompts disabled|authentication failed|error: 40[13]/i,
    'give a token with access in DISCOBOT_GIT_TOKEN',
  ],
  [
    /repository .*not found|does not appear to be a git repository|does not exist|error: 404/i,
    'check DISCOBOT_WORKSPACE; a private repository also needs DISCOBOT_GIT_TOKEN or DISCOBOT_GIT_SSH_KEY',
  ],
  [
    /could not resolve host|name or service not known/i,
    'check the host name in DISCOBOT_WORKSPACE and the name server',
  ],
  [
    /failed to connect|connection refused|timed out|unable to connect|network is unreachable/i,
    'check that the host can be reached from here',
  ],
  [/transport '\w+' not allowed/i, 'have the repository name its submodules by https or ssh'],
  [
    /'lfs' is not a git command|git-lfs.*not found/i,
    'install git-lfs in the image, or set DISCOBOT_WORKSPACE_LFS=off',
  ],
  [/certificate|ssl/i, "have the image trust the host's certificate"],
  [/no space left/i, 'free some disk space'],
  [/cannot open .*permission denied|cannot access|permission denied/i, 'let the account read the source'],
]

/**
 * One line that says why the workspace is not there and what to do. Whatever the remote printed has been masked
 * by the command runner.
 */
export function explainWorkspaceFailure(error: unknown, source: WorkspaceSource): WorkspaceError {
  const what = source.kind === 'git' ? `clone ${source.url}` : `copy ${source.path}`
  return new WorkspaceError(`cannot ${what}: ${reasonAndRemedy(error)}`, { cause: error })
}

/** What went wrong in one line, and after a semicolon what to do about it where that is known. */
export function reasonAndRemedy(error: unknown): string {
  if (!(error instanceof CommandError)) return reasonOf(error)
  // Progress ends with a carriage return, and what went wrong comes right after it.
  const lines = error.stderr.split(/[\r\n]/).map((line) => line.trim())
  const known = REMEDIES.find(([pattern]) => pattern.test(error.stderr))
  const told =
    lines.find((line) => known?.[0].test(line) === true) ??
    lines.find((line) => /^(fatal|error|cp|ssh):/.test(line)) ??
    lines.findLast((line) => line !== '')
  const reason = told
    ?.replace(/^(fatal|error): /, '')
    .replaceAll(/[^\x20-\x7e]/g, '?')
    .slice(0, 300)
  const end = known === undefined ? '' : `; ${known[1]}`
  return `${reason ?? reasonOf(error)}${end}`
}
