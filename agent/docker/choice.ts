/** One thing about dockerd that is decided here rather than left to it. */
export interface Choice {
  /** Given to dockerd, unless its file or the operator's arguments name the same. */
  readonly flags: readonly Flag[]
  /** For `status` and the log. */
  readonly told: string
  /** What does not work because of it, and what to do about it. */
  readonly limit?: string
  /** Folder to be searched for programs before all others. */
  readonly path?: string
}

/** Without the dashes. */
export type Flag = readonly [name: string, value: string]
