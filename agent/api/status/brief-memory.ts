/**
 * Shares one run of `work` among all who ask while it lasts and for `forMs` after it ended, so that a page that
 * polls cannot start work faster than it is done. `now` is in milliseconds. A failure is shared, not kept.
 */
export function briefly<Value>(
  work: () => Promise<Value>,
  forMs: number,
  now: () => number,
): () => Promise<Value> {
  let shared: Promise<Value> | undefined
  let validUntil = Infinity
  return () => {
    if (shared !== undefined && now() < validUntil) return shared
    validUntil = Infinity
    const run = work()
    shared = run
    run.then(
      () => (validUntil = now() + forMs),
      () => (shared = undefined),
    )
    return run
  }
}
