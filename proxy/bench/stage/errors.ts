/** Of the bench alone: nobody who uses Discobot meets one, so they have no code in `docs/errors.md`. */
export class BenchError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = new.target.name
  }
}

/** The command line makes no sense. */
export class UsageError extends BenchError {}

/** There is no private loopback to measure on. */
export class SandboxError extends BenchError {}

/** A peer cannot take part: its program is not installed, or it does not come up. The others are measured. */
export class PeerUnavailableError extends BenchError {}

/** A transfer did not do what it was to do, so its time says nothing. */
export class MeasureError extends BenchError {}
