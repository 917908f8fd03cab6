import {
  COMMON_OPTIONS,
  type Argument,
  type Command,
  type Offers,
  type Option,
  type Options,
  type Program,
} from './command.js'
import { allOptions, commandNamed, secondWords } from './command-line.js'
import type { Shell } from './shell.js'
import { tokensOf } from './tokens.js'

/** What may stand in the place of the last word; `files` leaves it to the shell. */
export type Candidates = 'files' | readonly Candidate[]

export interface Candidate {
  readonly word: string
  readonly help: string
}

/** @param words behind the program's name, up to the one that is being typed, which may be empty. */
export async function candidates(
  program: Program,
  shell: Shell,
  words: readonly string[],
): Promise<Candidates> {
  const typed = shell === 'bash' ? rejoined(words) : words
  const current = typed.at(-1) ?? ''
  const before = typed.slice(0, -1)
  const found = await possible(program, before, current)
  if (found === 'files') return found
  const fitting = found.filter(({ word }) => word.startsWith(current))
  // Bash takes what follows `=` for a word of its own.
  const [, prefix = ''] = shell === 'bash' ? (/^(--[^=]+=)/.exec(current) ?? []) : []
  return fitting.map(({ word, help }) => ({ word: word.slice(prefix.length), help }))
}

/** As the script of the shell reads it: a line for what follows, then a line each. */
export function candidateLines(shell: Shell, found: Candidates): string {
  if (found === 'files') return 'files\n'
  const lines = found.map(({ word, help }) => {
    if (shell === 'bash') return word
    return shell === 'zsh' ? `${word.replaceAll(':', '\\:')}:${help}` : `${word}\t${help}`
  })
  return ['words', ...lines].map((line) => `${line}\n`).join('')
}

async function possible(program: Program, before: readonly string[], current: string): Promise<Candidates> {
  const tokens = [...tokensOf(before, allOptions(program))]
  const words = tokens.filter((token) => token.kind === 'word').map(({ text }) => text)
  const last = tokens.at(-1)
  const isOpen = last?.kind === 'option' && last.known?.option.value !== undefined && last.value === undefined
  // Behind `--` there are no options any more.
  const onlyWords = before.includes('--') && !isOpen
  if (isOpen && last.known !== undefined) return offered(last.known.option)
  const { command, args } = commandOf(program, words)
  const options: Options = {
    ...(command ?? commandNamed(program, program.byDefault)).options,
    ...COMMON_OPTIONS,
  }
  const [, name = '', , inline] = onlyWords ? [] : (/^--([^=]+)(=)(.*)$/.exec(current) ?? [])
  if (inline !== undefined) return inlineValues(options, name)
  const given = tokens.flatMap((token) => (token.kind === 'option' && token.known ? [token.known.name] : []))
  const left = onlyWords ? [] : optionCandidates(options, given)
  if (current.startsWith('-')) return left
  if (command === undefined) return nextWords(program, words)
  const argument = argumentAt(command, args)
  // Where nothing else can follow, options can.
  return argument === undefined ? left : offered(argument)
}

/** The command that has been typed, and how many of its arguments. */
function commandOf(
  program: Program,
  [first = '', second, ...rest]: readonly string[],
): { readonly command?: Command; readonly args: number } {
  const one = program.commands.find(({ name }) => name === first)
  if (one !== undefined) return { command: one, args: second === undefined ? 0 : rest.length + 1 }
  const two = program.commands.find(({ name }) => name === `${first} ${second ?? ''}`)
  return two === undefined ? { args: 0 } : { command: two, args: rest.length }
}

/** First words of commands, or second words of the first one that was typed. */
function nextWords(program: Program, [first, ...more]: readonly string[]): readonly Candidate[] {
  const helpOf = (start: string): string =>
    program.commands.find(({ name }) => name === start || name.startsWith(`${start} `))?.summary ?? ''
  if (first === undefined) {
    const names = new Set(program.commands.map(({ name }) => name.split(' ', 1)[0] ?? name))
    return [...names].map((word) => ({ word, help: helpOf(word) }))
  }
  if (more.length > 0) return []
  return secondWords(program, first).map((word) => ({ word, help: helpOf(`${first} ${word}`) }))
}

function optionCandidates(options: Options, given: readonly string[]): readonly Candidate[] {
  return Object.entries(options)
    .filter(([name, { many }]) => many === true || !given.includes(name))
    .map(([name, { help }]) => ({ word: `--${name}`, help }))
}

async function inlineValues(options: Options, name: string): Promise<Candidates> {
  const option = Object.hasOwn(options, name) ? options[name] : undefined
  const values = option === undefined ? [] : await offered(option)
  return values === 'files' ? values : values.map(({ word, help }) => ({ word: `--${name}=${word}`, help }))
}

function argumentAt({ args }: Command, at: number): Argument | undefined {
  const all = Object.values(args)
  return all[at] ?? (all.at(-1)?.many ? all.at(-1) : undefined)
}

async function offered({ value, help }: Option | Argument): Promise<Candidates> {
  const words = await wordsOf(value?.offers)
  return words === 'files' ? words : words.map((word) => ({ word, help }))
}

async function wordsOf(offers: Offers = []): Promise<'files' | readonly string[]> {
  if (typeof offers !== 'function') return offers
  // Nobody reads an error while they type.
  return offers().catch(() => [])
}

/** Bash breaks words at `=` and `:` (COMP_WORDBREAKS), and gives these as words too. */
function rejoined(words: readonly string[]): readonly string[] {
  const joined: string[] = []
  let glue = false
  for (const word of words) {
    const isBreak = /^[=:]+$/.test(word)
    const before = joined.at(-1)
    const joins: boolean =
      before !== undefined && (glue || (isBreak && (word !== '=' || before.startsWith('--'))))
    if (joins) joined[joined.length - 1] = before + word
    else joined.push(word)
    glue = joins && isBreak
  }
  return joined
}
