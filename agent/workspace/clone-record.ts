import { ensureFile } from '../system/atomic-file.js'
import { besides, isAbsent } from '../system/held-folder.js'

/** Parts of a repository that a clone does not bring. */
export const EXTRAS = ['submodules', 'lfs'] as const
export type Extra = (typeof EXTRAS)[number]

/** What we know of a clone that we have made. */
export interface CloneRecord {
  readonly source: string
  readonly ref: string
  /** What has not been fetched yet. */
  readonly pending: readonly Extra[]
  /**
   * Nobody but us can have changed it: it is below the overlay of a session, which keeps what a session changes. Where
   * it is not so, the agent may have written programs into its configuration, and no git runs there with a secret.
   */
  readonly sealed: boolean
}

/**
 * What we have written down of the clone at `path`. In a file of our own and not in the clone: there the agent could
 * write what it likes. A file that somebody else has put there says nothing.
 */
export function readCloneRecord(file: string, path: string): CloneRecord | undefined {
  return readAll(file)[path]
}

export async function writeCloneRecord(file: string, path: string, record: CloneRecord): Promise<void> {
  const all = { ...readAll(file), [path]: record }
  await ensureFile(file, `${JSON.stringify(all)}\n`, { mode: 0o600 })
}

/** Others get at what we have cloned from here on. */
export async function unsealClones(file: string): Promise<void> {
  const all = Object.entries(readAll(file))
  if (!all.some(([, { sealed }]) => sealed)) return
  const unsealed = Object.fromEntries(all.map(([path, record]) => [path, { ...record, sealed: false }]))
  await ensureFile(file, `${JSON.stringify(unsealed)}\n`, { mode: 0o600 })
}

function readAll(file: string): Readonly<Record<string, CloneRecord>> {
  try {
    const read = besides(file, (folder, name) => folder.read(name))
    if (read === undefined || read.stats.uid !== (process.geteuid?.() ?? 0)) return {}
    const all: unknown = JSON.parse(read.text)
    if (typeof all !== 'object' || all === null) return {}
    return Object.fromEntries(
      Object.entries(all).flatMap(([path, said]) => {
        const record = recordOf(said)
        return record === undefined ? [] : [[path, record]]
      }),
    )
  } catch (error) {
    if (isAbsent(error) || error instanceof SyntaxError) return {}
    throw error
  }
}

function recordOf(said: unknown): CloneRecord | undefined {
  if (typeof said !== 'object' || said === null || !('source' in said) || !('ref' in said)) return undefined
  const { source, ref } = said
  if (typeof source !== 'string' || typeof ref !== 'string') return undefined
  const named = 'pending' in said && Array.isArray(said.pending) ? (said.pending as unknown[]) : []
  const pending = EXTRAS.filter((extra) => named.includes(extra))
  return { source, ref, pending, sealed: 'sealed' in said && said.sealed === true }
}
