import { WorkspaceIncompleteError, reasonAndRemedy } from '../../workspace/remedy.js'
import { fetchLargeFiles, usesLargeFiles } from '../../workspace/large-files.js'
import { historyFor } from '../../workspace/history.js'
import { writeMark, type Extra } from '../../workspace/settle.js'
import { checkOutSubmodules, hasSubmodules } from '../../workspace/submodules.js'
import { ownerCommand, withGitAccess, type GitDeps } from '../../workspace/with-git-access.js'
import type { CommandOptions } from '../../system/command.js'
import type { BootFindings, Clone } from '../findings.js'
import type { BootStep } from '../step.js'

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

type Work = (deps: GitDeps, clone: Clone, command: CommandOptions) => Promise<string>

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
): Promise<string> {
  const { clone } = findings
  if (deps.options[extra] === 'off') return `DISCOBOT_WORKSPACE_${extra.toUpperCase()} is "off"`
  if (clone === undefined || !clone.mark.pending.includes(extra)) return 'nothing to do'
  const owner = await deps.owner()
  const command = ownerCommand(deps.env, owner, signal)
  try {
    const request = { source: clone.source, owner, command, submodules: true }
    const remark = await withGitAccess(deps, request, (withSecrets) => work(deps, clone, withSecrets))
    const mark = { ...clone.mark, pending: clone.mark.pending.filter((other) => other !== extra) }
    await writeMark(clone.path, mark, owner)
    findings.clone = { ...clone, mark }
    return remark
  } catch (error) {
    const reason = signal.aborted ? String(signal.reason) : reasonAndRemedy(error)
    throw new WorkspaceIncompleteError(
      `cannot ${what}: ${reason}; the workspace is there without them, and the next start tries again`,
      { cause: error },
    )
  }
}

async function checkOut(
  { options, run }: GitDeps,
  { path, source }: Clone,
  command: CommandOptions,
): Promise<string> {
  if (!(await hasSubmodules(path))) return 'none'
  const withSecret = options.gitToken !== undefined || source.credentials !== undefined
  const history = historyFor(options.history ?? { kind: 'auto' }, source, withSecret)
  const count = await checkOutSubmodules({ workspace: path, history, run, command })
  return `${count} checked out`
}

async function fetchLarge({ run }: GitDeps, { path }: Clone, command: CommandOptions): Promise<string> {
  const large = { workspace: path, run, command }
  if (!(await usesLargeFiles(large))) return 'none'
  await fetchLargeFiles(large)
  return 'fetched'
}
