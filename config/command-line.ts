import { parseArgs, type ParseArgsConfig } from 'node:util'
import { DiscobotError } from './errors.js'
import { nearestName } from '../base/nearest-name.js'

type Options = NonNullable<ParseArgsConfig['options']>
type Parsed<Known extends Options> = ReturnType<
  typeof parseArgs<{ args: string[]; allowPositionals: true; strict: true; options: Known }>
>

/** A command line that cannot be meant as it is written. */
export class CommandLineError extends DiscobotError {
  override readonly code = 'COMMAND_LINE_UNUSABLE'
}

/**
 * Takes a command line apart, options and other words in any order, as `parseArgs` of Node does; with messages in our
 * own words and the option that was most likely meant.
 *
 * @throws CommandLineError
 */
export function readCommandLine<Known extends Options>(
  args: readonly string[],
  options: Known,
): Parsed<Known> {
  const { values, positionals, tokens } = parseArgs({
    args: [...args],
    allowPositionals: true,
    strict: false,
    tokens: true,
    options,
  })
  for (const token of tokens) {
    if (token.kind !== 'option') continue
    const { name, rawName, value, inlineValue } = token
    const known = Object.hasOwn(options, name) ? options[name] : undefined
    if (known === undefined) throw new CommandLineError(unknownName('option', rawName, longNames(options)))
    if (known.type === 'boolean' && value !== undefined)
      throw new CommandLineError(`${rawName} takes no value`)
    const isMissing = value === undefined || value === '' || (inlineValue === false && /^-./.test(value))
    if (known.type === 'string' && isMissing) throw new CommandLineError(`${rawName} needs a value`)
  }
  // Each option was checked against its type just now.
  return { values, positionals }
}

/** `unknown command "statsu"; did you mean "status"?` */
export function unknownName(kind: string, name: string, known: readonly string[]): string {
  const near = nearestName(name, known)
  const hint = near === undefined ? '' : `; did you mean ${JSON.stringify(near)}?`
  return `unknown ${kind} ${JSON.stringify(name)}${hint}`
}

function longNames(options: Options): readonly string[] {
  return Object.keys(options).map((name) => `--${name}`)
}
