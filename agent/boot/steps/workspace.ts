import { randomBytes } from 'node:crypto'
import { realpath } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { mkdir } from '../../../base/files/files-at-once.js'
import type { Account } from '../../process/run-as.js'
import type { CommandOptions, RunCommand } from '../../system/command.js'
import type { CheckedOut } from '../../workspace/clone.js'
import { cloneWithRetries } from '../../workspace/clone-with-retries.js'
import { EXTRAS, readCloneRecord, writeCloneRecord, type CloneRecord } from '../../workspace/clone-record.js'
import { copyInto } from '../../workspace/copy.js'
import { detachCopy } from '../../workspace/detach-copy.js'
import { fetchIntoClone } from '../../workspace/fetch.js'
import { removeStaleGitAccess } from '../../workspace/git-access.js'
import {
  explainWorkspaceFailure,
  reasonAndRemedy,
  WorkspaceError,
  WorkspaceIncompleteError,
} from '../../workspace/remedy.js'
import { findPartials, partialPath, settle, whatExists, type Existing } from '../../workspace/settle.js'
import { parseSource, type GitSource, type WorkspaceSource } from '../../workspace/source.js'
import { ownerCommand, type GitDeps } from '../../workspace/with-git-access.js'
import type { BootFindings, Clone } from '../findings/findings.js'
import type { BootStep } from '../../status/step.js'

export interface WorkspaceStepDeps extends GitDeps {
  readonly cwd: string
  /** The workspace is made below an overlay, where only root gets at it. */
  readonly sealed?: boolean
}

/** Half an hour: a large repository over a slow line. Nothing but the workspace's own users wait for it. */
const TIMEOUT_MS = 30 * 60_000

/** The workspace exists when this has ended, empty if it cannot be what was asked for. */
export function workspaceStep(deps: WorkspaceStepDeps, findings: BootFindings): BootStep {
  return {
    name: 'workspace',
    needs: ['home'],
    timeoutMs: TIMEOUT_MS,
    onFailure: 'degrade',
    remedy: 'check DISCOBOT_WORKSPACE and the way to its host',
    run: async (signal) => {
      const { remark, clone } = await prepareWorkspace(belowOverlay(deps, findings), signal)
      if (clone !== undefined) findings.clone = clone
      return remark
    },
  }
}

/** Where the home will be an overlay, the workspace is made in the folder below it. */
function belowOverlay(deps: WorkspaceStepDeps, { home }: BootFindings): WorkspaceStepDeps {
  if (home?.kind !== 'layered') return deps
  const { options } = deps
  return { ...deps, sealed: true, options: { ...options, path: join(home.base, basename(options.path)) } }
}

interface Prepared {
  readonly remark: string
  /** When it is a clone of ours. */
  readonly clone?: Clone
}

/**
 * Clones or copies into a sibling, marks it complete and renames it, so that a folder of that name is never half
 * a clone. What is there already is left as it is: it may hold work that exists nowhere else.
 *
 * @throws WorkspaceError with reason and remedy; the workspace folder exists nevertheless.
 */
export async function prepareWorkspace(deps: WorkspaceStepDeps, signal: AbortSignal): Promise<Prepared> {
  const { options } = deps
  const owner = await deps.owner()
  const command = ownerCommand(deps.env, owner, signal)
  await removeStaleGitAccess(deps.runtimeDir)
  const existing = await whatExists(options.path)
  if (existing.kind === 'not-a-folder') {
    throw new WorkspaceError(`cannot use ${options.path} as the workspace: it is not a folder; move it away`)
  }
  for (const partial of await findPartials(options.path))
    await deps.run(['rm', '-rf', '--', partial], command)
  try {
    const wanted = options.source === undefined ? undefined : parseSource(options.source, deps.cwd)
    if (existing.kind === 'filled') return await keep(deps, existing, wanted, owner, command)
    if (wanted === undefined) return { remark: 'empty' }
    return await obtain(deps, wanted, owner, command)
  } finally {
    if (existing.kind === 'nothing') await ensureFolder(options.path, owner, deps.run, command)
  }
}

async function obtain(
  deps: WorkspaceStepDeps,
  source: WorkspaceSource,
  owner: Account | undefined,
  command: CommandOptions,
): Promise<Prepared> {
  const { options, run } = deps
  const partial = partialPath(options.path, randomBytes(4).toString('hex'))
  let incomplete: readonly string[] = []
  try {
    if (source.kind === 'git') {
      deps.logger.info(
        { url: source.url, ...(options.ref === undefined ? {} : { ref: options.ref }) },
        'cloning the workspace',
      )
      const result = await cloneWithRetries(deps, source, partial, owner, command)
      const record = freshRecord(deps, source)
      await writeCloneRecord(deps.recordFile, options.path, record)
      await settle(partial, options.path, run, command)
      const remark = `cloned ${result.branch}${result.commit === undefined ? ', which is empty' : ` at ${result.commit.slice(0, 7)}`}${HISTORY[result.history.kind]}`
      return { remark, clone: { path: options.path, source, record, fresh: true } }
    }
    deps.logger.info({ path: source.path }, 'copying the workspace')
    const leftOut = await copyInto(source.path, partial, options.path, run, command)
    const tree = { source: await realpath(source.path), copy: partial, run, command }
    const detached = await detachCopy(tree)
    await settle(partial, options.path, run, command)
    incomplete = [...leftOut, ...detached.map((why) => `no history in ${why}`)]
  } catch (error) {
    // The step's own signal may be the reason; what is left must go all the same.
    const cleanup = { ...command, signal: AbortSignal.timeout(CLEANUP_MS) }
    await run(['rm', '-rf', '--', partial], cleanup).catch(() => undefined)
    throw explainWorkspaceFailure(error, source)
  }
  const [first, ...others] = incomplete
  if (first === undefined) return { remark: `copied ${source.path}` }
  for (const reason of incomplete) deps.logger.warn({ reason }, 'left out of the workspace')
  throw new WorkspaceIncompleteError(
    `cannot copy all of ${source.path}: ${first}${others.length === 0 ? '' : ` (and ${others.length} more, see the log)`}; the rest is there`,
  )
}

const CLEANUP_MS = 30_000
const HISTORY: Readonly<Record<CheckedOut['history']['kind'], string>> = {
  full: '',
  partial: ', earlier versions when asked for',
  shallow: ', without its history',
}
function freshRecord({ options, sealed = false }: WorkspaceStepDeps, source: GitSource): CloneRecord {
  return { source: source.url, ref: options.ref ?? '', pending: EXTRAS, sealed }
}

/** What is there stays; when it is not what was asked for, that is said. */
async function keep(
  deps: WorkspaceStepDeps,
  existing: Extract<Existing, { kind: 'filled' }>,
  wanted: WorkspaceSource | undefined,
  owner: Account | undefined,
  command: CommandOptions,
): Promise<Prepared> {
  const { branch, origin, hasGit } = existing
  const { path, ref = '' } = deps.options
  const record = hasGit ? readCloneRecord(deps.recordFile, path) : undefined
  const remark = branch === undefined ? 'kept as it is' : `kept, on ${branch}`
  if (wanted?.kind !== 'git') return { remark }
  if (record === undefined && origin !== wanted.url) {
    throw new WorkspaceError(
      `cannot clone ${wanted.url}: ${path} holds files that are not from a clone of ours, and they were kept; move them away to have it cloned`,
    )
  }
  // Without a record (of another data dir, or none by then) it may be anybody's work: nothing of it is pending.
  const known = record ?? { source: wanted.url, ref, pending: [], sealed: false }
  if (known.source !== wanted.url || known.ref !== ref) {
    const was = `${known.source}${known.ref === '' ? '' : ` (${known.ref})`}`
    throw new WorkspaceError(
      `cannot clone ${wanted.url}${ref === '' ? '' : ` (${ref})`}: ${path} holds a clone of ${was}, which was kept; move it away to have the other cloned`,
    )
  }
  const fetched = deps.options.fetch === 'on' ? await fetchInto(deps, wanted, owner, command) : ''
  return { remark: remark + fetched, clone: { path, source: wanted, record: known, fresh: false } }
}

async function fetchInto(
  deps: WorkspaceStepDeps,
  source: GitSource,
  owner: Account | undefined,
  command: CommandOptions,
): Promise<string> {
  try {
    await fetchIntoClone(deps, deps.options.path, source, owner, command)
    return ', fetched'
  } catch (error) {
    command.signal.throwIfAborted()
    deps.logger.warn({ reason: reasonAndRemedy(error) }, 'cannot fetch into the workspace')
    return `, not fetched: ${reasonAndRemedy(error)}`
  }
}

async function ensureFolder(
  path: string,
  owner: Account | undefined,
  run: RunCommand,
  command: CommandOptions,
): Promise<void> {
  // As the account: the folder above belongs to it, and may lead elsewhere by a link of its own.
  if (owner === undefined) await mkdir(path, { recursive: true })
  else if ((await whatExists(path)).kind === 'nothing') {
    await run(['mkdir', '-p', '--', path], { ...command, signal: AbortSignal.timeout(CLEANUP_MS) })
  }
}
