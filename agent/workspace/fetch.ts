import { join } from 'node:path'
import type { Account } from '../process/run-as.js'
import type { CommandOptions } from '../system/command.js'
import { CommandError } from '../system/command.js'
import type { GitSource } from './source.js'
import { withGitAccess, type GitDeps } from './with-git-access.js'

/** The filters that a partial clone of ours, or one that a person has made, may have. */
const FILTER = /^(blob:none|blob:limit=\d+[kmg]?|tree:\d+)$/
const OBJECT_NAME = /^([0-9a-f]{40}|[0-9a-f]{64})$/

/**
 * Brings the remote's branches up to date: neither files nor branches of anybody's own are touched.
 *
 * The clone's own configuration may be the agent's, and names programs. So what talks to the server, with the secrets
 * at hand, is a repository of one use with no configuration but ours; it puts the objects where the clone has its own,
 * which are data and name no program. The clone then takes the branches from there, without any secret.
 *
 * @throws CommandError, GitAccessError
 */
export async function fetchIntoClone(
  deps: GitDeps,
  clone: string,
  source: GitSource,
  owner: Account | undefined,
  command: CommandOptions,
): Promise<void> {
  const { run } = deps
  const inClone = (...args: string[]): Promise<string> =>
    withGitAccess(deps, { source, owner, command, secrets: 'none' }, (bare) =>
      // From our own repository beside it.
      run(['git', ...args], { ...bare, env: { ...bare.env, GIT_ALLOW_PROTOCOL: 'file' }, cwd: clone }),
    )
  const scratch = `${clone}.fetch`
  const objects = join(clone, '.git', 'objects')
  await run(['rm', '-rf', '--', scratch], command)
  try {
    const refs = await inClone('for-each-ref', '--format=%(objectname) %(refname)', 'refs/remotes/origin')
    const partial = await optional(inClone('config', '--get', 'remote.origin.partialclonefilter'))
    await makeScratch({ scratch, clone, objects, refs, partial, source }, deps, command)
    await withGitAccess(deps, { source, owner, command }, (withSecrets) =>
      run(['git', `--git-dir=${scratch}`, 'fetch', '--progress', '--no-recurse-submodules', 'origin'], {
        ...withSecrets,
        env: { ...withSecrets.env, GIT_OBJECT_DIRECTORY: objects },
      }),
    )
    const branches = '+refs/remotes/origin/*:refs/remotes/origin/*'
    await inClone('fetch', '--quiet', '--no-recurse-submodules', '--no-write-fetch-head', scratch, branches)
  } finally {
    await run(['rm', '-rf', '--', scratch], { ...command, signal: AbortSignal.timeout(CLEANUP_MS) })
  }
}

const CLEANUP_MS = 30_000

interface Scratch {
  readonly scratch: string
  readonly clone: string
  readonly objects: string
  /** What the clone has of the remote, so that the server sends the rest alone. */
  readonly refs: string
  readonly partial: string | undefined
  readonly source: GitSource
}

async function makeScratch(
  { scratch, clone, objects, refs, partial, source }: Scratch,
  { run }: GitDeps,
  command: CommandOptions,
): Promise<void> {
  const known = refs.split('\n').flatMap((line) => {
    const [name = '', ref = ''] = line.split(' ')
    return OBJECT_NAME.test(name) && !ref.endsWith('/HEAD') ? [`${name} ${ref}`] : []
  })
  const format = known.some((line) => line.indexOf(' ') === 64) ? 'sha256' : 'sha1'
  const git = ['git', 'init', '--quiet', '--bare', '--template=', `--object-format=${format}`] as const
  await run([...git, '--', scratch], command)
  const set = (key: string, value: string): Promise<string> =>
    run(['git', 'config', '--file', join(scratch, 'config'), key, value], command)
  await set('remote.origin.url', source.url)
  await set('remote.origin.fetch', '+refs/heads/*:refs/remotes/origin/*')
  if (partial !== undefined && FILTER.test(partial)) {
    await set('remote.origin.promisor', 'true')
    await set('remote.origin.partialclonefilter', partial)
  }
  // As the account: what is in the clone may be a link of its own.
  const lines = [`printf '%s\\n' "$1" >"$3/packed-refs"`, `printf '%s\\n' "$2" >"$3/objects/info/alternates"`]
  if (known.length === 0) lines.shift()
  const shallow = 'if test -f "$4"; then cp -- "$4" "$3/shallow"; fi'
  const script = `set -e; mkdir -p "$3/objects/info"; ${[...lines, shallow].join('; ')}`
  const shell = ['sh', '-c', script, 'sh', known.join('\n'), objects, scratch] as const
  await run([...shell, join(clone, '.git', 'shallow')], command)
}

/** A setting that is not there is exit code 1 (git-config(1)). */
async function optional(answer: Promise<string>): Promise<string | undefined> {
  try {
    return await answer
  } catch (error) {
    if (error instanceof CommandError && error.exitCode === 1) return undefined
    throw error
  }
}
