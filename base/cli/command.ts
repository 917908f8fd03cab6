/** A kind of value that an option or an argument takes. */
export interface Value<T = unknown> {
  /** Stands for it in usage lines: `FILE`. */
  readonly name: string
  /** Ends the sentence "--api-port takes …". */
  readonly wants: string
  /** Undefined when the text is no such value. */
  read(text: string): T | undefined
  /** A shell offers these for completion; nothing when absent. */
  readonly offers?: Offers
}

/** Names of files, words that are known, or words that have to be asked for. */
export type Offers = 'files' | readonly string[] | (() => Promise<readonly string[]>)

export interface Option<T = unknown> {
  /** One letter: `-f`. */
  readonly short?: string
  readonly help: string
  /** Without it the option is given or not. */
  readonly value?: Value<T>
  /** May be given several times. */
  readonly many?: true
  /** `-config` is understood as `--config`. */
  readonly oneDash?: true
}

export interface Argument<T = unknown> {
  readonly help: string
  readonly value: Value<T>
  readonly optional?: true
  /** Takes all that follow; only the last argument may. */
  readonly many?: true
}

/** Keyed by long name, without dashes. */
export type Options = Readonly<Record<string, Option>>
/** Keyed by name, in the order in which they are given. */
type Arguments = Readonly<Record<string, Argument>>

/** The values of one call, as its row of the table promises them. */
interface Given<O extends Options, A extends Arguments> {
  readonly options: { readonly [Name in keyof O]: OptionGiven<O[Name]> }
  readonly args: { readonly [Name in keyof A]: ArgumentGiven<A[Name]> }
}

type OptionGiven<O> = O extends { readonly value: Value<infer T> }
  ? O extends { readonly many: true }
    ? readonly T[]
    : T | undefined
  : boolean

type ArgumentGiven<A> = A extends { readonly value: Value<infer T> }
  ? A extends { readonly many: true }
    ? readonly T[]
    : A extends { readonly optional: true }
      ? T | undefined
      : T
  : never

export interface Example {
  /** Behind the program's name: `logs -f proxy`. */
  readonly line: string
  readonly does: string
}

/** A row of the table of commands. */
interface Row<O extends Options, A extends Arguments> {
  /** One word, or two: `config check`. */
  readonly name: string
  /** One line for the list of commands. */
  readonly summary: string
  /** Paragraphs that the command's own help begins with; the summary when absent. */
  readonly about?: readonly string[]
  readonly options: O
  readonly args: A
  /** The remedy for an argument too many. */
  readonly surplus?: string
  /** At least one: people read these first. */
  readonly examples: readonly Example[]
  /** Besides 2, which is a wrong command line everywhere. */
  readonly exits?: Readonly<Record<number, string>>
  /** Standard output is for data, so that help goes to standard error. */
  readonly outputIsData?: true
  /** Imports what does the work only now. Resolves with the exit code, or undefined when the process goes on. */
  run(given: Given<O, A>): Promise<number | undefined>
}

/** A row whose types are known to nobody but itself. */
export interface Command extends Omit<Row<Options, Arguments>, 'run'> {
  run(given: Parsed): Promise<number | undefined>
}

export interface Parsed {
  readonly options: Readonly<Record<string, unknown>>
  readonly args: Readonly<Record<string, unknown>>
}

/** Checks that a row uses what it describes. */
export function command<const O extends Options, const A extends Arguments>(row: Row<O, A>): Command {
  // The parser makes the values out of this very row.
  return { ...row, run: (given) => row.run(given as Given<O, A>) }
}

/** Everything that one program understands on its command line. */
export interface Program {
  readonly name: string
  /** Paragraphs in front of the list of commands. */
  readonly about: readonly string[]
  /** Paragraphs behind it. */
  readonly notes?: readonly string[]
  readonly version: string
  /** In the order in which help lists them. */
  readonly commands: readonly Command[]
  /** Name of the command that is meant when none is given. */
  readonly byDefault: string
  readonly otherwise?: Otherwise
}

/** The row for anything else: a command line that is for another program, and is passed on as it is. */
interface Otherwise {
  /** Behind the program's name: `[run] -- COMMAND [ARGUMENT…]`. */
  readonly usage: string
  readonly summary: string
  /** Sees each command line first. Undefined when it is for the commands of the table. */
  take(args: readonly string[]): Promise<(() => Promise<number | undefined>) | undefined>
}

/** Understood by every command. */
export const COMMON_OPTIONS = {
  help: { short: 'h', help: 'this text' },
  version: { short: 'v', help: 'the version' },
} as const satisfies Options
