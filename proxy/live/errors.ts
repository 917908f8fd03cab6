import { DiscobotError } from '../../base/errors.js'

/** A value that is right in itself cannot be put in force here: a file it names cannot be used. */
export class OptionUnusableError extends DiscobotError {
  readonly code = 'OPTION_UNUSABLE'

  constructor(
    /** Dotted key. */
    readonly option: string,
    message: string,
    cause: unknown,
  ) {
    super(message, { cause })
  }
}

/** The configuration is no longer the one that a change was meant for. */
export class RevisionError extends DiscobotError {
  readonly code = 'CONFIG_REVISION_STALE'
}

/** A change cannot be written to the file, so it was not made. */
export class PersistError extends DiscobotError {
  readonly code = 'CONFIG_NOT_PERSISTED'
}
