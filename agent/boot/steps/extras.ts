import { WorkspaceIncompleteError, reasonAndRemedy } from '../../workspace/remedy.js'
import { writeCloneRecord, type Extra } from '../../workspace/clone-record.js'
import { fetchLargeFiles } from '../../workspace/large-files.js'
import { historyFor } from '../../workspace/history.js'
import { checkOutSubmodules, type Completed } from '../../workspace/submodules.js'
import { ownerCommand, withGitAccess, type GitDeps } from '../../workspace/with-git-access.js'
import type { CommandOptions } from '../../system/command.js'
import type { BootFindings, Clone } from '../findings/findings.js'
import type { BootStep, NotDone } from '../../status/step.js'

/** A quarter of an hour each: the workspace can be worked in without them, and everybody waits. */
const TIMEOUT_MS = 15 * 60_000

/** What a clone does not bring along. A step of its own each: neither is worth the workspace. */
export function submodulesStep(deps: GitDeps, findings: BootFindings): BootStep {
  return {
    name: 'submodules',
    needs: ['workspace'],
    timeoutMs: TIMEOUT_MS,
    onFailure: 'degrade',
    remedy: 'the next start tries again',
    run: (signal) => complete('submodules', 'check out its submodules', deps, findings, signal, checkOut),
  }
}

/** After the submodules, which may have large files too. */
export function largeFilesStep(deps: GitDeps, findings: BootFindings): BootStep {
  return {
    name: 'lfs',
    needs: ['workspace', 'submodules'],
    timeoutMs: TIMEOUT_MS,
    onFailure: 'degrade',
    remedy: 'the next start tries again',
    run: (signal) => complete('lfs', 'fetch its large files', deps, findings, signal, fetchLarge),
  }
}

interface Commands {
  readonly command: CommandOptions
  readonly withSecrets: CommandOptions
}

type Work = (deps: GitDeps, clone: Clone, commands: Commands) => Promise<Completed>

/**
 * Does what is still pending and strikes it off, so that a warm boot runs no git and one that was interrupted is
 * gone on with.
 *
 * @throws WorkspaceIncompleteError
 */
async function complete(
  extra: Extra,
  what: string,
  deps: GitDeps,
  findings: BootFindings,
  signal: AbortSignal,
  work: Work,
): Promise<string | NotDone> {
  const { clone } = findings
  if (deps.options[extra] === 'off') return { notDone: `DISCOBOT_WORKSPACE_${extra.toUpperCase()} is "off"` }
  if (clone === undefined || !clone.record.pending.includes(extra)) return { notDone: 'nothing to do' }
  const owner = await deps.owner()
  const command = ownerCommand(deps.env, owner, signal)
  // Of a clone that others could have changed, what git runs there may be theirs.
  const secrets = clone.fresh || clone.record.sealed ? 'all' : 'none'
  const request = { source: clone.source, owner, submodules: true }
  let done: Completed
  try {
    done = await withGitAccess(deps, { ...request, command, secrets }, (withSecrets) =>
      work(deps, clone, { command, withSecrets }),
    )
  } catch (error) {
    throw incomplete(what, signal.aborted ? String(signal.reason) : reasonAndRemedy(error), secrets, error)
  }
  const [first, ...others] = done.failures
  if (first !== undefined) {
    const reason = others.length === 0 ? first : `${first} (and ${others.length} more, see the log)`
    for (const failure of done.failures) deps.logger.warn({ reason: failure }, `cannot ${what}`)
    throw incomplete(what, reason, secrets)
  }
  const pending = clone.record.pending.filter((other) => other !== extra)
  const record = { ...clone.record, pending }
  await writeCloneRecord(deps.recordFile, clone.path, record)
  findings.clone = { ...clone, record }
  if (done.count === 0) return 'none'
  return extra === 'lfs' ? 'fetched' : `${done.count} checked out`
}

function incomplete(what: string, reason: string, secrets: 'all' | 'none', cause?: unknown): Error {
  const withheld =
    secrets === 'all'
      ? ''
      : '; it was tried without DISCOBOT_GIT_TOKEN and DISCOBOT_GIT_SSH_KEY, because others could have changed the clone since it was made; move it away to have it cloned anew'
  return new WorkspaceIncompleteError(
    `cannot ${what}: ${reason}; the workspace is there without them, and the next start tries again${withheld}`,
    { cause },
  )
}

async function checkOut(
  { options, run }: GitDeps,
  { path, source }: Clone,
  commands: Commands,
): Promise<Completed> {
  const withSecret = options.gitToken !== undefined || source.credentials !== undefined
  const history = historyFor(options.history ?? { kind: 'auto' }, source, withSecret)
  return checkOutSubmodules({ workspace: path, history, run, ...commands })
}

async function fetchLarge({ run }: GitDeps, { path }: Clone, commands: Commands): Promise<Completed> {
  return fetchLargeFiles({ workspace: path, run, ...commands })
}
