/** What one look at the system has shown. */
export interface Finding {
  /** What was looked at, in a word or two. */
  readonly check: string
  /** `warning`: it works, with less; `problem`: something does not work; `unknown`: it cannot be told from here. */
  readonly state: 'ok' | 'warning' | 'problem' | 'unknown'
  readonly what: string
  /** What to do about it; there always is something unless it is well. */
  readonly remedy?: string
}

export function ok(check: string, what: string): Finding {
  return { check, state: 'ok', what }
}
