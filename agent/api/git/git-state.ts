import { reasonOf } from '../../../base/errors.js'
import { GitFailedError, runGit } from './run-git.js'
import { parseStatus, STATUS_ARGUMENTS } from './status.js'

/** The workspace as `/api/status` shows it. */
export type WorkspaceState =
  | {
      readonly path: string
      readonly state: 'git'
      /** null: a commit is checked out, no branch. */
      readonly branch: string | null
      /** null: nothing has been committed yet. */
      readonly commit: string | null
      readonly dirty: boolean
    }
  | { readonly path: string; readonly state: 'plain' | 'unknown'; readonly reason: string }

interface GitStateOptions {
  readonly path: string
  /** PATH and HOME are what git needs. */
  readonly env: Readonly<Record<string, string>>
  /** git is killed after this; a cold status of a large tree on a slow disk takes seconds. */
  readonly timeoutMs: number
}

/** The first changed file says all there is to know: the list may be as long as the tree. */
const MAX_BYTES = 64 * 1024

/** Asks git for branch, commit and whether anything differs, and never fails. */
export async function gitState(options: GitStateOptions): Promise<WorkspaceState> {
  const { path } = options
  try {
    const { output } = await runGit({ ...options, maxBytes: MAX_BYTES }, STATUS_ARGUMENTS)
    const { branch, commit, files } = parseStatus(output.toString())
    return { path, state: 'git', branch, commit, dirty: files.length > 0 }
  } catch (error) {
    if (error instanceof GitFailedError && error.kind === 'plain')
      return { path, state: 'plain', reason: 'not a git repository' }
    return { path, state: 'unknown', reason: reasonOf(error) }
  }
}
