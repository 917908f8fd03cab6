/** Time as the agent sees it; a test may hand in its own. */
export interface Clock {
  /** Milliseconds that only ever grow; the zero point means nothing. */
  now(): number
  /** The time of day, for what people read. */
  date(): Date
  /**
   * Resolves after `ms` milliseconds, or as soon as `signal` aborts: it never rejects, so whoever sleeps
   * looks at the signal afterwards.
   */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

export const systemClock: Clock = {
  // The global `performance` takes a start 1 ms to bring in.
  now: () => Number(process.hrtime.bigint()) / 1e6,
  date: () => new Date(),
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted === true) {
        resolve()
        return
      }
      const wake = (): void => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', wake)
        resolve()
      }
      const timer = setTimeout(wake, ms)
      signal?.addEventListener('abort', wake, { once: true })
    }),
}
