import type { CloneHistory } from '../settings/options.js'
import type { GitSource } from './source.js'

/** What is asked of the server, `auto` being decided. */
export type FetchedHistory =
  { readonly kind: 'partial' | 'full' } | { readonly kind: 'shallow'; readonly commits: number }

/**
 * `auto`: without the contents of earlier versions where git can fetch them when they are asked for. With a secret
 * of ours it cannot, since the secret is gone after the boot: `git log -p` would fail in the middle. From a file
 * there is nothing to save.
 */
export function historyFor(wanted: CloneHistory, source: GitSource, withSecret: boolean): FetchedHistory {
  if (wanted.kind === 'shallow') return wanted
  if (wanted.kind !== 'auto') return { kind: wanted.kind }
  const overHttp = source.transport === 'https' || source.transport === 'http'
  return { kind: overHttp && !withSecret ? 'partial' : 'full' }
}
