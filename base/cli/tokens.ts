import type { Option, Options } from './command.js'

/** A word of a command line, or one of its options. */
export type Token =
  | { readonly kind: 'word'; readonly at: number; readonly text: string }
  | {
      readonly kind: 'option'
      readonly at: number
      /** As it was written, or with two dashes where one will do. */
      readonly raw: string
      /** Undefined when nobody knows it. */
      readonly known?: { readonly name: string; readonly option: Option }
      readonly value?: string
    }

/**
 * Takes arguments apart as GNU's getopt_long does: `--name value`, `--name=value`, `-n value`, `-nvalue`, `-abc`, options
 * and words in any order, words only behind `--`. The argument behind an option is its value unless it looks like an
 * option itself; `-` alone does not.
 */
export function* tokensOf(args: readonly string[], options: Options): Generator<Token> {
  for (let at = 0; at < args.length; at += 1) {
    const arg = args[at] ?? ''
    if (arg === '--') {
      yield* args.slice(at + 1).map((text, index): Token => ({ kind: 'word', at: at + 1 + index, text }))
      return
    }
    if (arg.length < 2 || !arg.startsWith('-')) {
      yield { kind: 'word', at, text: arg }
      continue
    }
    const found = longOption(arg, options) ?? shortOptions(arg, options)
    const [last] = found.slice(-1)
    const next = args[at + 1]
    const takesNext = last?.option?.value !== undefined && last.value === undefined && isValue(next)
    for (const { raw, name, option, value } of found) {
      const given = value ?? (takesNext && option === last.option ? next : undefined)
      yield {
        kind: 'option',
        at,
        raw,
        ...(option === undefined ? {} : { known: { name, option } }),
        ...(given === undefined ? {} : { value: given }),
      }
    }
    if (takesNext) at += 1
  }
}

interface Found {
  readonly raw: string
  readonly name: string
  readonly option: Option | undefined
  readonly value?: string
}

function longOption(arg: string, options: Options): readonly Found[] | undefined {
  const [, dashes, name = '', value] = /^(--?)([^=]*)(?:=([^]*))?$/.exec(arg) ?? []
  const option = Object.hasOwn(options, name) ? options[name] : undefined
  if (dashes !== '--' && option?.oneDash !== true) return undefined
  return [{ raw: `--${name}`, name, option, ...(value === undefined ? {} : { value }) }]
}

/** Letters behind one dash; what follows a letter that takes a value is that value. */
function shortOptions(arg: string, options: Options): readonly Found[] {
  const found: Found[] = []
  for (let at = 1; at < arg.length; at += 1) {
    const letter = arg.charAt(at)
    const entry = Object.entries(options).find(([, { short }]) => short === letter)
    // The whole of it: `-json` is one mistake, and not four.
    if (entry === undefined) return [{ raw: arg, name: arg.slice(1), option: undefined }]
    const [name, option] = entry
    const rest = arg.slice(at + 1)
    const takesRest = option.value !== undefined && rest !== ''
    found.push({ raw: `-${letter}`, name, option, ...(takesRest ? { value: rest } : {}) })
    if (takesRest) break
  }
  return found
}

function isValue(next: string | undefined): next is string {
  return next !== undefined && !/^-./.test(next)
}
