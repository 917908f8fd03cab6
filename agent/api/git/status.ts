/** One path of `git status`. */
interface GitFile {
  readonly path: string
  /** As git-status(1) has it: `M`, `A`, `D`, `R`, `C`, `T`, `U`, `?` for untracked, `.` for no change. */
  readonly index: string
  readonly worktree: string
  /** Of a file that was renamed or copied. */
  readonly from?: string
}

interface GitStatus {
  /** null: a commit is checked out, no branch. */
  readonly branch: string | null
  /** null: nothing has been committed yet. */
  readonly commit: string | null
  readonly upstream: string | null
  /** Commits that the upstream lacks, and that it has and we lack; null without one. */
  readonly ahead: number | null
  readonly behind: number | null
  readonly files: readonly GitFile[]
}

/** Arguments that `parseStatus` understands the output of. */
export const STATUS_ARGUMENTS = [
  'status',
  '--porcelain=v2',
  '--branch',
  '-z',
  // Otherwise git runs a status inside each submodule, with what the submodule's own configuration names.
  '--ignore-submodules=dirty',
] as const

/** git-status(1), "Porcelain Format Version 2": records end in NUL. A last one without it is incomplete and left out. */
export function parseStatus(output: string): GitStatus {
  const records = output.split('\0').slice(0, -1)
  const headers = new Map<string, string>()
  const files: GitFile[] = []
  for (let at = 0; at < records.length; at += 1) {
    const record = records[at] ?? ''
    const header = /^# branch\.(\w+) (.*)$/s.exec(record)
    if (header !== null) headers.set(header[1] ?? '', header[2] ?? '')
    const file = record.startsWith('#') ? undefined : parseFile(record, records[at + 1])
    if (file === undefined) continue
    files.push(file)
    // The old name is a record of its own.
    if (file.from !== undefined) at += 1
  }
  const branch = headers.get('head') ?? '(detached)'
  const commit = headers.get('oid') ?? '(initial)'
  const [, ahead, behind] = /^\+(\d+) -(\d+)$/.exec(headers.get('ab') ?? '') ?? []
  return {
    branch: branch === '(detached)' ? null : branch,
    commit: commit === '(initial)' ? null : commit,
    upstream: headers.get('upstream') ?? null,
    ahead: ahead === undefined ? null : Number(ahead),
    behind: behind === undefined ? null : Number(behind),
    files,
  }
}

/** How many fields stand before the path. */
const FIELDS_BEFORE: Readonly<Record<string, number>> = { '1': 8, '2': 9, u: 10 }

function parseFile(record: string, next: string | undefined): GitFile | undefined {
  const kind = record.charAt(0)
  if (kind === '?') return { path: record.slice(2), index: '?', worktree: '?' }
  const before = FIELDS_BEFORE[kind]
  if (before === undefined) return undefined
  const fields = record.split(' ')
  const [, both = '..'] = fields
  const path = fields.slice(before).join(' ')
  const file = { path, index: both.charAt(0), worktree: both.charAt(1) }
  if (kind !== '2') return file
  return next === undefined ? undefined : { ...file, from: next }
}
