import type { CommandOptions, RunCommand } from '../system/command.js'
import { CommandError } from '../system/command.js'
import type { FetchedHistory } from './history.js'
import { WorkspaceSourceError, type GitSource } from './source.js'

interface CloneOptions {
  readonly source: GitSource
  /** Branch, tag, commit or full ref name, already checked by `requireRef`. */
  readonly ref?: string
  readonly history: FetchedHistory
  /** Must not exist yet. */
  readonly into: string
  readonly run: RunCommand
  readonly command: CommandOptions
}

export interface CheckedOut {
  /** Always a branch: work done on a detached head is easily lost. */
  readonly branch: string
  /** Absent in an empty repository. */
  readonly commit?: string
  /** As it was fetched in the end: not every server can leave something out. */
  readonly history: FetchedHistory
}

/**
 * Clones and checks out `ref`, or the remote's default branch. A tag or commit is checked out on a local branch
 * `discobot/<ref>`: one with the tag's own name would make that name ambiguous ever after.
 *
 * @throws CommandError from git; WorkspaceSourceError when the remote has no such ref.
 */
export async function cloneInto(options: CloneOptions): Promise<CheckedOut> {
  let fetched = false
  try {
    return await cloneOnce(options, () => (fetched = true))
  } catch (error) {
    // A server may leave out what was not asked for and then not give it out when it is.
    const { history, run, into, command } = options
    if (history.kind !== 'partial' || !fetched || !(error instanceof CommandError)) throw error
    command.signal.throwIfAborted()
    await run(['rm', '-rf', '--', into], command)
    return cloneOnce({ ...options, history: { kind: 'full' } })
  }
}

async function cloneOnce(options: CloneOptions, onFetched?: () => void): Promise<CheckedOut> {
  const history = await fetchInto(options)
  onFetched?.()
  const { into, run, command } = options
  const git = (...args: string[]): Promise<string> => run(['git', ...args], { ...command, cwd: into })
  const found =
    options.ref === undefined
      ? await defaultBranch(git, history)
      : await resolveRef(git, options.ref, history)
  if (found.commit === undefined) return { branch: found.branch, history }
  await git('checkout', '--progress', '-B', found.branch, found.commit, '--')
  if (found.upstream !== undefined)
    await git('branch', '--quiet', `--set-upstream-to=${found.upstream}`, found.branch)
  return { branch: found.branch, commit: found.commit, history }
}

async function fetchInto({ source, history, into, run, command }: CloneOptions): Promise<FetchedHistory> {
  const clone = (...args: string[]): Promise<string> =>
    run(
      [
        ...(['git', 'clone', '--progress', '--no-checkout', '--origin', 'origin'] as const),
        ...args,
        '--',
        source.url,
        into,
      ],
      command,
    )
  try {
    // A server that knows no filters ignores them, and git says so and takes everything.
    await clone(...historyArguments(history))
    return history
  } catch (error) {
    // One that serves files only (dumb http) has no part of a history to give.
    const refused = error instanceof CommandError && /does not support shallow/i.test(error.stderr)
    if (!refused) throw error
    await clone()
    return { kind: 'full' }
  }
}

function historyArguments(history: FetchedHistory): string[] {
  switch (history.kind) {
    case 'full':
      return []
    case 'partial':
      return ['--filter=blob:none']
    case 'shallow':
      return ['--depth', String(history.commits)]
  }
}

type Git = (...args: string[]) => Promise<string>

interface Found {
  readonly branch: string
  readonly commit?: string
  /** Set for a branch of the remote. */
  readonly upstream?: string
}

async function defaultBranch(git: Git, history: FetchedHistory): Promise<Found> {
  const upstream = await attempt(git('symbolic-ref', '--quiet', '--short', 'refs/remotes/origin/HEAD'))
  if (upstream !== undefined) {
    const commit = await commitOf(git, `refs/remotes/${upstream}`)
    const branch = upstream.replace(/^origin\//, '')
    if (commit !== undefined) return { branch, commit, upstream }
  }
  // The remote's own head is detached, or there is nothing in it yet.
  const commit = await commitOf(git, 'HEAD')
  if (commit !== undefined) return { branch: localBranch(commit.slice(0, 12)), commit }
  const named = (await attempt(git('symbolic-ref', '--quiet', '--short', 'HEAD'))) ?? 'main'
  return (await branchInItsPlace(git, history, named)) ?? { branch: named }
}

/** By their age: a server's default was the one, and has become the other. */
const USUAL = ['main', 'master']

/** The remote's head names a branch that it does not have. Undefined when it has none at all. @throws WorkspaceSourceError */
async function branchInItsPlace(
  git: Git,
  history: FetchedHistory,
  named: string,
): Promise<Found | undefined> {
  // A shallow clone has only what the head leads to.
  const listed = await git('ls-remote', '--heads', 'origin')
  const branches = [...listed.matchAll(/\trefs\/heads\/(.+)$/gm)].flatMap(([, branch]) => branch ?? [])
  if (branches.length === 0) return undefined
  const branch = branches.length === 1 ? branches[0] : USUAL.find((usual) => branches.includes(usual))
  if (branch === undefined)
    throw new WorkspaceSourceError(
      `cannot tell which branch to check out: the repository's HEAD names ${JSON.stringify(named)}, which is not there; name one of ${branches.slice(0, 10).join(', ')} in DISCOBOT_WORKSPACE_REF`,
    )
  if (history.kind === 'shallow') await addBranch(git, branch, history.commits)
  const commit = await commitOf(git, `refs/remotes/origin/${branch}`)
  return commit === undefined ? undefined : { branch, commit, upstream: `origin/${branch}` }
}

async function resolveRef(git: Git, ref: string, history: FetchedHistory): Promise<Found> {
  const branch = ref.replace(/^refs\/heads\//, '')
  if (history.kind === 'shallow') await addBranch(git, branch, history.commits)
  const head = await commitOf(git, `refs/remotes/origin/${branch}`)
  if (head !== undefined) return { branch, commit: head, upstream: `origin/${branch}` }
  const tag = ref.replace(/^refs\/tags\//, '')
  const tagged = await commitOf(git, `refs/tags/${tag}`)
  if (tagged !== undefined) return { branch: localBranch(tag), commit: tagged }
  const isCommit = /^[0-9a-f]{7,64}$/i.test(ref)
  const commit = isCommit ? await commitOf(git, ref) : undefined
  if (commit !== undefined) return { branch: localBranch(commit.slice(0, 12)), commit }
  // What no branch or tag leads to, such as the head of a pull request.
  const depth = history.kind === 'shallow' ? historyArguments(history) : []
  if ((await attempt(git('fetch', '--quiet', ...depth, 'origin', ref))) !== undefined) {
    const fetched = await commitOf(git, 'FETCH_HEAD')
    if (fetched !== undefined)
      return { branch: localBranch(isCommit ? fetched.slice(0, 12) : tag), commit: fetched }
  }
  const shallow = history.kind === 'shallow' && isCommit ? ', or not within DISCOBOT_WORKSPACE_CLONE' : ''
  throw new WorkspaceSourceError(
    `cannot check out DISCOBOT_WORKSPACE_REF ${JSON.stringify(ref)}: the repository has no such branch, tag or commit${shallow}`,
  )
}

/** A shallow clone has the default branch alone, and later fetches keep to the branches it knows. */
async function addBranch(git: Git, branch: string, commits: number): Promise<void> {
  const refspec = `+refs/heads/${branch}:refs/remotes/origin/${branch}`
  const fetched = await attempt(git('fetch', '--progress', '--depth', String(commits), 'origin', refspec))
  if (fetched !== undefined) await git('remote', 'set-branches', '--add', 'origin', branch)
}

function localBranch(ref: string): string {
  return `discobot/${ref.replace(/^refs\//, '')}`
}

/** `^{commit}` sees through annotated tags; the full name keeps a tag from passing for a branch. */
function commitOf(git: Git, name: string): Promise<string | undefined> {
  return attempt(git('rev-parse', '--verify', '--quiet', '--end-of-options', `${name}^{commit}`))
}

/** For questions whose "no" is an exit code; an abort shows at the next command. */
async function attempt(answer: Promise<string>): Promise<string | undefined> {
  try {
    return await answer
  } catch {
    return undefined
  }
}
