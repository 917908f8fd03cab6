import {
  COMMON_OPTIONS,
  type Argument,
  type Command,
  type Example,
  type Options,
  type Program,
} from './command.js'
import { commandNamed, findCommand } from './command-line.js'
import { COLOURS, paint, type Outputs, type Terminal } from './terminal.js'
import { padEnd, textWidth, wrap } from './text-width.js'

type Look = Pick<Terminal, 'columns' | 'colour'>

/** Longer lines of running text are hard to read; also where nobody says how wide the terminal is. */
const WIDEST = 100
const UNTOLD = 80
/** A longer name has its text on the next line. */
const WIDEST_NAME = 26
/** Examples are whole lines. */
const WIDEST_EXAMPLE = 48
/** Nobody needs an example of these to begin with. */
const WITHOUT_EXAMPLE: readonly string[] = ['help', 'version', 'completion']
const INDENT = '  '

/** Writes what the words name: a command, or without words the program. @throws CommandLineError */
export function showHelp(program: Program, words: readonly string[], outputs: Outputs): void {
  const command = words.length === 0 ? undefined : findCommand(program, words).command
  const screen = command?.outputIsData ? outputs.stderr : outputs.stdout
  screen.write(command === undefined ? programHelp(program, screen) : commandHelp(program, command, screen))
}

/** Shows the commands of a program, and examples of them. */
export function programHelp(program: Program, look: Look): string {
  const { about, notes = [], commands, otherwise } = program
  const rows = commands.map((one): Pair => [withArguments(one), one.summary])
  const others: readonly Pair[] = otherwise === undefined ? [] : [[otherwise.usage, otherwise.summary]]
  const shown = commands.filter(({ name }) => !WITHOUT_EXAMPLE.includes(name))
  return page([
    [usageOfProgram(program)],
    ...about.map((text) => wrap(text, widthOf(look))),
    section('Commands', pairs([...rows, ...others], look), look),
    section('Options of every command', pairs(optionPairs(COMMON_OPTIONS), look), look),
    examplesSection(
      program.name,
      shown.flatMap(({ examples }) => examples.slice(0, 1)),
      look,
    ),
    ...notes.map((text) => wrap(text, widthOf(look))),
    wrap(`"${program.name} help COMMAND" says more about one of them.`, widthOf(look)),
  ])
}

/** Shows what one command does and takes. */
export function commandHelp({ name: program }: Program, command: Command, look: Look): string {
  const { summary, about = [`${capital(summary)}.`], args, options, examples, exits = {} } = command
  const codes = Object.entries({ ...exits, 2: 'wrong command line' })
  return page([
    usageOf(program, command, widthOf(look)),
    ...about.map((text) => wrap(text, widthOf(look))),
    section(
      'Arguments',
      pairs(
        Object.values(args).map((one) => [one.value.name, one.help]),
        look,
      ),
      look,
    ),
    section('Options', pairs(optionPairs({ ...options, ...COMMON_OPTIONS }), look), look),
    examplesSection(program, examples, look),
    section('Exit codes', pairs(codes, look), look),
  ])
}

/** The usage lines of a command, or of the program, and where more is said: for below an error. */
export function usageAndMore(program: Program, command: Command | undefined, look: Look): string {
  if (command === undefined || command.name === program.byDefault)
    return `${usageOfProgram(program)}\n"${program.name} help" lists the commands, with examples.\n`
  const usage = usageOf(program.name, command, widthOf(look)).join('\n')
  return `${usage}\n"${program.name} help ${command.name}" says more, with examples.\n`
}

function usageOfProgram(program: Program): string {
  const { name, byDefault, otherwise } = program
  const parts = usageParts({ ...commandNamed(program, byDefault), name: `[${byDefault}]` })
  const passedOn = otherwise === undefined ? [] : [`       ${name} ${otherwise.usage}`]
  const general = `       ${name} COMMAND [ARGUMENT…] [OPTION…]`
  return [`Usage: ${[name, ...parts].join(' ')}`, ...passedOn, general].join('\n')
}

/** `Usage: program name ARGUMENT [--option VALUE]`, over several lines where it is long. */
function usageOf(program: string, command: Command, width: number): readonly string[] {
  const begin = `Usage: ${program} `
  const lines: string[] = []
  let line = begin
  for (const part of usageParts(command)) {
    if (line.trim() !== '' && textWidth(line) + textWidth(part) > width) {
      lines.push(line.trimEnd())
      line = ' '.repeat(begin.length)
    }
    line += `${part} `
  }
  return [...lines, line.trimEnd()]
}

function usageParts({ name, args, options }: Pick<Command, 'name' | 'args' | 'options'>): readonly string[] {
  return [
    name,
    ...Object.values(args).map(argumentUsage),
    ...Object.entries(options).map(([long, { value, many }]) => {
      const one = `[--${long}${value === undefined ? '' : ` ${value.name}`}]`
      return many ? `${one}…` : one
    }),
  ]
}

function withArguments({ name, args }: Command): string {
  return [name, ...Object.values(args).map(argumentUsage)].join(' ')
}

function argumentUsage({ value, optional, many }: Argument): string {
  const name = many ? `${value.name}…` : value.name
  return optional ? `[${name}]` : name
}

function optionPairs(options: Options): readonly Pair[] {
  return Object.entries(options).map(([long, { short, value, help, many }]) => {
    const letter = short === undefined ? '   ' : `-${short},`
    const more = many ? '; may be given several times' : ''
    return [`${letter} --${long}${value === undefined ? '' : ` ${value.name}`}`, `${help}${more}`]
  })
}

type Pair = readonly [name: string, text: string]

function examplesSection(program: string, examples: readonly Example[], look: Look): readonly string[] {
  const lines = examples.map(({ line, does }): Pair => [`${program} ${line}`, does])
  return section('Examples', pairs(lines, look, WIDEST_EXAMPLE), look)
}

/** Two columns, of which the second is wrapped. */
function pairs(all: readonly Pair[], look: Look, widest = WIDEST_NAME): readonly string[] {
  const names = all.map(([name]) => textWidth(name))
  const nameWidth = Math.min(widest, Math.floor(widthOf(look) / 2), Math.max(...names, 0))
  const textIndent = INDENT.length + nameWidth + 2
  const textWidthLeft = Math.max(20, widthOf(look) - textIndent)
  return all.flatMap(([name, text]) => {
    const [first = '', ...more] = wrap(text, textWidthLeft)
    const rest = more.map((line) => ' '.repeat(textIndent) + line)
    if (textWidth(name) <= nameWidth) return [`${INDENT}${padEnd(name, nameWidth)}  ${first}`, ...rest]
    return [INDENT + name, ' '.repeat(textIndent) + first, ...rest]
  })
}

function section(title: string, lines: readonly string[], { colour }: Look): readonly string[] {
  return lines.length === 0 ? [] : [paint(title, COLOURS.bold, colour), ...lines]
}

function page(parts: readonly (readonly string[])[]): string {
  return `${parts
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join('\n'))
    .join('\n\n')}\n`
}

function widthOf({ columns }: Look): number {
  return columns === Infinity ? UNTOLD : Math.min(WIDEST, columns)
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}
