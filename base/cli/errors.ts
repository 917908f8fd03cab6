/** A command line that cannot be meant as it is written. */
export class CommandLineError extends Error {
  readonly code = 'COMMAND_LINE_UNUSABLE'

  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = new.target.name
  }
}

/** By its code: in the bundle this file and the one that throws have a class each. */
export function isCommandLineError(error: unknown): error is CommandLineError {
  return error instanceof Error && 'code' in error && error.code === 'COMMAND_LINE_UNUSABLE'
}
