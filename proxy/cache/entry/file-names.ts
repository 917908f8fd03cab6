// <dir>/<name>                  body of an entry; <name> is 64 hex digits
// <dir>/<name>.meta             what it is, written last: an entry exists exactly when its meta does
// <dir>/<any>.<run>-<n>.tmp     being written by the run of that token; of another run, left by a crash

export const META_SUFFIX = '.meta'

const ENTRY_FILE = /^([0-9a-f]{64})(\.meta)?$/
const TEMP_FILE = /^(?:[0-9a-f]{64}(?:\.meta)?|lock)\.([0-9a-f]{12})-\d+\.tmp$/

type CacheFile =
  | { readonly kind: 'body'; readonly name: string }
  | { readonly kind: 'meta'; readonly name: string }
  | { readonly kind: 'temporary'; readonly run: string }

/** Undefined for what we cannot have made: the directory may be somebody's by mistake, so that is never touched. */
export function cacheFile(file: string): CacheFile | undefined {
  const [, name, suffix] = ENTRY_FILE.exec(file) ?? []
  if (name !== undefined) return { kind: suffix === undefined ? 'body' : 'meta', name }
  const run = TEMP_FILE.exec(file)?.[1]
  return run === undefined ? undefined : { kind: 'temporary', run }
}

/** @param run 12 hex digits, another for every run. */
export function temporaryName(path: string, run: string, count: number): string {
  return `${path}.${run}-${count}.tmp`
}
