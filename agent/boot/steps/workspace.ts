import { randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { Logger } from '../../../config/logger.js'
import type { Environment } from '../../environment.js'
import type { WorkspaceOptions } from '../../options.js'
import type { Account } from '../../services/run-as.js'
import type { CommandOptions, RunCommand } from '../../system/command.js'
import { cloneInto, type CheckedOut } from '../../workspace/clone.js'
import { copyInto } from '../../workspace/copy.js'
import { openGitAccess, removeStaleGitAccess } from '../../workspace/git-access.js'
import { explainWorkspaceFailure, WorkspaceError } from '../../workspace/remedy.js'
import {
  findPartials,
  partialPath,
  settle,
  whatExists,
  writeMark,
  type Existing,
  type Mark,
} from '../../workspace/settle.js'
import { parseSource, requireRef, type GitSource, type WorkspaceSource } from '../../workspace/source.js'
import type { BootFindings } from '../findings.js'
import type { BootStep } from '../step.js'

export interface WorkspaceStepDeps {
  readonly options: WorkspaceOptions
  readonly cwd: string
  readonly runtimeDir: string
  /** Who owns the workspace, looked up when the step runs; resolves with undefined for ourselves. */
  readonly owner: () => Promise<Account | undefined>
  /** Environment of git and cp, without secrets. */
  readonly env: Environment
  readonly run: RunCommand
  readonly logger: Logger
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
    run: (signal) => prepareWorkspace({ ...deps, options: belowOverlay(deps.options, findings) }, signal),
  }
}

/** Where the home will be an overlay, the workspace is made in the folder below it. */
function belowOverlay(options: WorkspaceOptions, { home }: BootFindings): WorkspaceOptions {
  if (home?.kind !== 'layered') return options
  return { ...options, path: join(home.base, basename(options.path)) }
}

/**
 * Clones or copies into a sibling, marks it complete and renames it, so that a folder of that name is never half
 * a clone. What is there already is left as it is: it may hold work that exists nowhere else.
 *
 * @throws WorkspaceError with reason and remedy; the workspace folder exists nevertheless.
 */
export async function prepareWorkspace(deps: WorkspaceStepDeps, signal: AbortSignal): Promise<string> {
  const { options } = deps
  const owner = await deps.owner()
  const command: CommandOptions = {
    env: { ...deps.env, LC_ALL: 'C' },
    cwd: '/',
    signal,
    ...(owner === undefined ? {} : { user: owner.name }),
  }
  await removeStaleGitAccess(deps.runtimeDir)
  const existing = await whatExists(options.path)
  if (existing.kind === 'not-a-folder') {
    throw new WorkspaceError(`cannot use ${options.path} as the workspace: it is not a folder; move it away`)
  }
  for (const partial of await findPartials(options.path))
    await deps.run(['rm', '-rf', '--', partial], command)
  try {
    const wanted = options.source === undefined ? undefined : parseSource(options.source, deps.cwd)
    if (existing.kind === 'filled') return keep(options, existing, wanted)
    if (wanted === undefined) return 'empty'
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
): Promise<string> {
  const { options, run } = deps
  const partial = partialPath(options.path, randomBytes(4).toString('hex'))
  try {
    if (source.kind === 'git') {
      deps.logger.info(
        { url: source.url, ...(options.ref === undefined ? {} : { ref: options.ref }) },
        'cloning the workspace',
      )
      const result = await clone(deps, source, partial, owner, command)
      await settle(partial, options.path, run, command)
      return `cloned ${result.branch}${result.commit === undefined ? ', which is empty' : ` at ${result.commit.slice(0, 7)}`}`
    }
    deps.logger.info({ path: source.path }, 'copying the workspace')
    await copyInto(source.path, partial, options.path, run, command)
    await settle(partial, options.path, run, command)
    return `copied ${source.path}`
  } catch (error) {
    // The step's own signal may be the reason; what is left must go all the same.
    const cleanup = { ...command, signal: AbortSignal.timeout(CLEANUP_MS) }
    await run(['rm', '-rf', '--', partial], cleanup).catch(() => undefined)
    throw explainWorkspaceFailure(error, source)
  }
}

const CLEANUP_MS = 30_000

async function clone(
  deps: WorkspaceStepDeps,
  source: GitSource,
  into: string,
  owner: Account | undefined,
  command: CommandOptions,
): Promise<CheckedOut> {
  const { gitToken, gitSshKey, gitKnownHosts, ref } = deps.options
  if (ref !== undefined) requireRef(ref)
  const access = await openGitAccess({
    source,
    secrets: {
      ...(gitToken === undefined ? {} : { token: gitToken }),
      ...(gitSshKey === undefined ? {} : { sshKey: gitSshKey }),
      ...(gitKnownHosts === undefined ? {} : { knownHostsFile: gitKnownHosts }),
    },
    runtimeDir: deps.runtimeDir,
    ...(owner === undefined ? {} : { owner }),
    ownSettings: owner === undefined,
  })
  try {
    const result = await cloneInto({
      source,
      ...(ref === undefined ? {} : { ref }),
      into,
      run: deps.run,
      command: { ...command, env: { ...command.env, ...access.env }, secrets: access.secrets },
    })
    await writeMark(into, markOf(source, ref), owner)
    return result
  } finally {
    await access.release()
  }
}

function markOf(source: GitSource, ref: string | undefined): Mark {
  return { source: source.url, ref: ref ?? '' }
}

/** What is there stays; when it is not what was asked for, that is said. */
function keep(
  options: WorkspaceOptions,
  existing: Extract<Existing, { kind: 'filled' }>,
  wanted: WorkspaceSource | undefined,
): string {
  const { mark, branch } = existing
  if (wanted?.kind === 'git') {
    const asked = markOf(wanted, options.ref)
    if (mark === undefined) {
      throw new WorkspaceError(
        `cannot clone ${wanted.url}: ${options.path} holds files that are not from a clone of ours, and they were kept; move them away to have it cloned`,
      )
    }
    if (mark.source !== asked.source || mark.ref !== asked.ref) {
      const was = `${mark.source}${mark.ref === '' ? '' : ` (${mark.ref})`}`
      throw new WorkspaceError(
        `cannot clone ${wanted.url}${asked.ref === '' ? '' : ` (${asked.ref})`}: ${options.path} holds a clone of ${was}, which was kept; move it away to have the other cloned`,
      )
    }
  }
  return branch === undefined ? 'kept as it is' : `kept, on ${branch}`
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
