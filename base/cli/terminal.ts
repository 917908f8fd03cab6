/** As much of an output stream as a command needs. */
interface OutputStream {
  readonly isTTY?: boolean
  readonly columns?: number | undefined
  write(text: string): unknown
}

/** An output of a command, and what whoever reads there can make use of. */
export interface Terminal {
  /** A person reads there, and not a file or a program. */
  readonly isTerminal: boolean
  /** Infinity where it is no terminal: what a program reads is neither cut nor wrapped. */
  readonly columns: number
  readonly colour: boolean
  write(text: string): void
}

/** The two outputs of a program. */
export interface Outputs {
  readonly stdout: Terminal
  readonly stderr: Terminal
}

/** Of a terminal that does not say: a serial line, `docker exec -t` before the first resize. */
const UNTOLD_COLUMNS = 80
/** Fewer leave no room for any table. */
const LEAST_COLUMNS = 20

/**
 * The stream is asked each time: a terminal may change its width, and Node opens a standard stream when it is first
 * looked at, which a start has no use for.
 */
export function terminalOf(
  stream: () => OutputStream,
  env: Readonly<Record<string, string | undefined>>,
): Terminal {
  const isTerminal = (): boolean => stream().isTTY === true
  return {
    get isTerminal() {
      return isTerminal()
    },
    get columns() {
      return isTerminal() ? Math.max(LEAST_COLUMNS, stream().columns || UNTOLD_COLUMNS) : Infinity
    },
    get colour() {
      return isTerminal() && wantsColour(env)
    },
    write: (text) => {
      stream().write(text)
    },
  }
}

/** no-color.org: set to anything but nothing. A terminal called "dumb" shows escapes as they are. */
function wantsColour({
  NO_COLOR: noColour = '',
  TERM: term,
}: Readonly<Record<string, string | undefined>>): boolean {
  return noColour === '' && term !== 'dumb'
}

/** Colours by their SGR parameter, ECMA-48 8.3.117. */
export const COLOURS = { bold: 1, red: 31, green: 32, yellow: 33, cyan: 36, grey: 90 } as const

/** The text in a colour, where there are colours. */
export function paint(text: string, sgr: number | undefined, colour: boolean): string {
  return colour && sgr !== undefined && text !== '' ? `\u001b[${sgr}m${text}\u001b[0m` : text
}
