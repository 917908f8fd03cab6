import { nearestName } from '../nearest-name.js'
import {
  COMMON_OPTIONS,
  type Argument,
  type Command,
  type Options,
  type Parsed,
  type Program,
} from './command.js'
import { CommandLineError } from './errors.js'
import { tokensOf, type Token } from './tokens.js'
import { inWords } from './values.js'

/** The command that is asked for, and the arguments without its name. */
interface Asked {
  readonly command: Command
  readonly args: readonly string[]
}

/** Options may stand in front of the command. @throws CommandLineError */
export function findCommand(program: Program, args: readonly string[]): Asked {
  const all = allOptions(program)
  const tokens = [...tokensOf(args, all)]
  const [first, second] = wordsOf(tokens)
  if (first === undefined) return { command: commandNamed(program, program.byDefault), args }
  const one = program.commands.find(({ name }) => name === first.text)
  if (one !== undefined) return { command: one, args: without(args, first.at) }
  const both = `${first.text} ${second?.text ?? ''}`
  const two = program.commands.find(({ name }) => name === both)
  if (two !== undefined) return { command: two, args: without(args, first.at, second?.at) }
  const group = secondWords(program, first.text)
  if (group.length > 0)
    throw new CommandLineError(
      `${unknownName('command', both.trim(), [])}: ${first.text} can only ${inWords(group.map((word) => JSON.stringify(word)))}`,
    )
  // Perhaps the word is its value.
  const before = tokens.find((token) => token.kind === 'option' && !token.known && token.at < first.at)
  if (before?.kind === 'option') throw new CommandLineError(unknownOption(before.raw, all))
  throw new CommandLineError(unknownName('command', first.text, commandWords(program)))
}

/** The first words of all commands. */
export function commandWords({ commands }: Program): readonly string[] {
  return [...new Set(commands.map(({ name }) => name.split(' ', 1)[0] ?? name))]
}

/** Of the commands of two words that begin with `first`. */
export function secondWords({ commands }: Program, first: string): readonly string[] {
  return commands.flatMap(({ name }) => {
    const [word, second] = name.split(' ')
    return word === first && second !== undefined ? [second] : []
  })
}

/** Of every command: each name means the same everywhere, or at least takes a value everywhere. */
export function allOptions({ commands }: Program): Options {
  return Object.assign({}, COMMON_OPTIONS, ...commands.map(({ options }) => options)) as Options
}

export function commandNamed({ commands }: Program, name: string): Command {
  const found = commands.find((one) => one.name === name)
  if (found === undefined)
    throw new CommandLineError(
      unknownName(
        'command',
        name,
        commands.map((one) => one.name),
      ),
    )
  return found
}

/**
 * Reads the options and arguments of one command.
 *
 * @returns `help` or `version` when that is asked for, whatever else is there.
 * @throws CommandLineError
 */
export function readArguments(command: Command, args: readonly string[]): Parsed | 'help' | 'version' {
  const known: Options = { ...command.options, ...COMMON_OPTIONS }
  const tokens = [...tokensOf(args, known)]
  for (const asked of ['help', 'version'] as const)
    if (tokens.some((token) => token.kind === 'option' && token.known?.name === asked)) return asked
  return {
    options: readOptions(tokens, known),
    args: readWords(
      wordsOf(tokens).map(({ text }) => text),
      command,
    ),
  }
}

function readOptions(tokens: readonly Token[], known: Options): Parsed['options'] {
  const values: Record<string, unknown> = Object.fromEntries(
    Object.entries(known).map(([name, { value, many }]) => [name, many ? [] : value ? undefined : false]),
  )
  for (const token of tokens) {
    if (token.kind !== 'option') continue
    const { raw, value: text } = token
    if (token.known === undefined) throw new CommandLineError(unknownOption(raw, known))
    const { name, option } = token.known
    if (option.value === undefined) {
      if (text !== undefined) throw new CommandLineError(`${raw} takes no value`)
      values[name] = true
      continue
    }
    if (text === undefined || text === '') throw new CommandLineError(`${raw} needs a value`)
    const value = option.value.read(text)
    if (value === undefined)
      throw new CommandLineError(
        `${raw} takes ${option.value.wants}, not ${JSON.stringify(text)}${meant(text, option.value)}`,
      )
    const before = values[name]
    values[name] = Array.isArray(before) ? [...(before as unknown[]), value] : value
  }
  return values
}

function readWords(words: readonly string[], { name: commandName, args, surplus }: Command): Parsed['args'] {
  const rest = [...words]
  const values: Record<string, unknown> = {}
  for (const [name, argument] of Object.entries(args)) {
    const mine = argument.many ? rest.splice(0) : rest.splice(0, 1)
    if (mine.length === 0 && argument.optional !== true)
      throw new CommandLineError(`${commandName} needs ${argument.value.name}: ${argument.help}`)
    const read = mine.map((text) => readWord(text, argument))
    values[name] = argument.many ? read : read[0]
  }
  const [unexpected] = rest
  if (unexpected !== undefined) {
    const remedy = surplus === undefined ? '' : `: ${surplus}`
    throw new CommandLineError(`unexpected argument ${JSON.stringify(unexpected)}${remedy}`)
  }
  return values
}

function readWord(text: string, { value }: Argument): unknown {
  const read = value.read(text)
  if (read !== undefined) return read
  throw new CommandLineError(
    `${value.name} is ${value.wants}, not ${JSON.stringify(text)}${meant(text, value)}`,
  )
}

function meant(text: string, { offers }: Argument['value']): string {
  return Array.isArray(offers) ? didYouMean(text, offers as readonly string[]) : ''
}

function unknownOption(raw: string, known: Options): string {
  const names = Object.keys(known).map((name) => `--${name}`)
  return unknownName('option', raw, names)
}

/** `unknown command "statsu"; did you mean "status"?` */
export function unknownName(kind: string, name: string, known: readonly string[]): string {
  return `unknown ${kind} ${JSON.stringify(name)}${didYouMean(name, known)}`
}

function didYouMean(name: string, known: readonly string[]): string {
  const near = nearestName(name, known)
  return near === undefined ? '' : `; did you mean ${JSON.stringify(near)}?`
}

function wordsOf(tokens: Iterable<Token>): readonly Extract<Token, { kind: 'word' }>[] {
  return [...tokens].filter((token) => token.kind === 'word')
}

function without(args: readonly string[], ...gone: readonly (number | undefined)[]): readonly string[] {
  return args.filter((_, at) => !gone.includes(at))
}
