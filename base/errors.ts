/**
 * Base of every error Discobot raises on purpose.
 *
 * One subclass exists per decision a caller can take. `code` is stable and listed in `docs/errors.md`
 * (a test keeps the two in step); the message reads "cannot X: Y" and is fit to be shown to a person.
 */
export abstract class DiscobotError extends Error {
  abstract readonly code: string

  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = new.target.name
  }
}

/** The message of anything thrown, for the "Y" in "cannot X: Y". */
export function reasonOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown)
}

/** The `code` of a system or Discobot error (`ENOENT`, `ECONNRESET`, …), if it has one. */
export function codeOf(thrown: unknown): string | undefined {
  if (typeof thrown !== 'object' || thrown === null || !('code' in thrown)) return undefined
  return typeof thrown.code === 'string' ? thrown.code : undefined
}
