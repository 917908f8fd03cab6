import { DiscobotError, reasonOf } from '../../config/errors.js'
import { CommandError } from '../system/command.js'
import type { WorkspaceSource } from './source.js'

/** There is no workspace as it was asked for; an empty one takes its place. */
export class WorkspaceError extends DiscobotError {
  readonly code = 'WORKSPACE_UNAVAILABLE'
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
  if (!(error instanceof CommandError)) {
    return new WorkspaceError(`cannot ${what}: ${reasonOf(error)}`, { cause: error })
  }
  const lines = error.stderr.split('\n').map((line) => line.trim())
  const told =
    lines.find((line) => /^(fatal|error|cp|ssh):/.test(line)) ?? lines.findLast((line) => line !== '')
  const reason = told
    ?.replace(/^(fatal|error): /, '')
    .replaceAll(/[^\x20-\x7e]/g, '?')
    .slice(0, 300)
  const remedy = REMEDIES.find(([pattern]) => pattern.test(error.stderr))?.[1]
  const end = remedy === undefined ? '' : `; ${remedy}`
  return new WorkspaceError(`cannot ${what}: ${reason ?? reasonOf(error)}${end}`, { cause: error })
}
