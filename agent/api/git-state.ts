import { spawn } from 'node:child_process'

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

export interface GitStateOptions {
  readonly path: string
  /** PATH and HOME are what git needs. */
  readonly env: Readonly<Record<string, string>>
  /** git is killed after this; a cold status of a large tree on a slow disk takes seconds. */
  readonly timeoutMs: number
}

/**
 * Asks git for branch, commit and whether anything differs. It is never waited for longer than `timeoutMs`,
 * takes no lock that a command of the user's could meet, and runs no program that the repository names.
 */
export function gitState(options: GitStateOptions): Promise<WorkspaceState> {
  const { path } = options
  const child = spawn(
    'git',
    ['-c', 'core.fsmonitor=false', '-C', path, 'status', '--porcelain=v2', '--branch', '-z'],
    {
      env: { ...options.env, LC_ALL: 'C', GIT_OPTIONAL_LOCKS: '0', GIT_TERMINAL_PROMPT: '0' },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  return new Promise((resolve) => {
    let head = ''
    let complaint = ''
    const settle = (state: WorkspaceState): void => {
      clearTimeout(timer)
      child.kill('SIGKILL')
      resolve(state)
    }
    const timer = setTimeout(() => {
      settle({ path, state: 'unknown', reason: `git did not answer within ${options.timeoutMs} ms` })
    }, options.timeoutMs)
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      head += chunk
      // The first changed file says all there is to know: the list may be as long as the tree.
      if (/(^|\0)[^#\0][^\0]*\0/.test(head)) settle(parseStatus(path, head))
    })
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      if (complaint.length < 1000) complaint += chunk
    })
    child.once('error', (error) =>
      settle({ path, state: 'unknown', reason: `cannot run git: ${error.message}` }),
    )
    child.once('close', (code) => {
      const reason = complaint.trim().split('\n')[0] ?? ''
      if (code === 0) settle(parseStatus(path, head))
      else if (/not a git repository/.test(reason))
        settle({ path, state: 'plain', reason: 'not a git repository' })
      else settle({ path, state: 'unknown', reason: reason || `git ended with code ${code}` })
    })
  })
}

/** git-status(1), "Porcelain Format Version 2": records end in NUL, headers begin with `#` and come first. */
function parseStatus(path: string, output: string): WorkspaceState {
  const records = output.split('\0').filter((record) => record !== '')
  const header = (name: string): string | undefined =>
    records.find((record) => record.startsWith(`# branch.${name} `))?.slice(`# branch.${name} `.length)
  const branch = header('head') ?? '(detached)'
  const commit = header('oid') ?? '(initial)'
  return {
    path,
    state: 'git',
    branch: branch === '(detached)' ? null : branch,
    commit: commit === '(initial)' ? null : commit,
    dirty: records.some((record) => !record.startsWith('# ')),
  }
}
