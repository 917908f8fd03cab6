import { refuse } from '../../../base/http/problem.js'
import { GitFailedError, runGit, type GitOptions, type GitOutput } from './run-git.js'

interface DiffRequest {
  /** What to compare with; HEAD, or nothing at all where there is no commit yet. */
  readonly base?: string
  /** One file or folder, relative to the workspace. */
  readonly path?: string
  /** The index instead of the files. */
  readonly staged: boolean
}

const COMMIT = /^[0-9a-f]{40,64}$/

/** Whatever the repository's configuration prefers: the common form, and no program for any kind of file. */
const DIFF_ARGUMENTS = [
  'diff',
  '--no-color',
  '--no-ext-diff',
  '--no-textconv',
  '--submodule=short',
  '--ignore-submodules=dirty',
  '--src-prefix=a/',
  '--dst-prefix=b/',
] as const

/**
 * The differences as a patch, cut after a whole line.
 *
 * @throws RefusedRequestError when there is no such commit. @throws GitFailedError
 */
export async function gitDiff(options: GitOptions, { base, path, staged }: DiffRequest): Promise<GitOutput> {
  const commit = await resolve(options, base)
  const { output, truncated } = await runGit(options, [
    ...DIFF_ARGUMENTS,
    ...(staged ? ['--cached'] : []),
    commit,
    '--',
    ...(path === undefined ? [] : [path]),
  ])
  return truncated
    ? { output: output.subarray(0, output.lastIndexOf(0x0a) + 1), truncated }
    : { output, truncated }
}

async function resolve(options: GitOptions, base: string | undefined): Promise<string> {
  // A name may not look like an option.
  if (base?.startsWith('-') === true || base === '') refuse(400, 'base is no name of a commit')
  try {
    const wanted = `${base ?? 'HEAD'}^{commit}`
    const { output } = await runGit(options, ['rev-parse', '--verify', '--quiet', '--end-of-options', wanted])
    const commit = output.toString().trim()
    if (COMMIT.test(commit)) return commit
  } catch (error) {
    if (!(error instanceof GitFailedError) || error.kind !== 'failed') throw error
  }
  if (base !== undefined) refuse(404, `there is no commit ${JSON.stringify(base)}`)
  const { output } = await runGit(options, ['hash-object', '-t', 'tree', '/dev/null'])
  return output.toString().trim()
}
