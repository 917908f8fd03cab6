import { command, type Program } from '../../base/cli/command.js'
import { completionCommand } from '../../base/cli/completion-command.js'
import { standardCommands } from '../../base/cli/standard-commands.js'
import type { Outputs, Terminal } from '../../base/cli/terminal.js'
import { FILE, oneOf, PORT, text, wholeNumber } from '../../base/cli/values.js'

/** A terminal that keeps what is written. */
interface Kept extends Terminal {
  written(): string
}

export function kept(columns = Infinity, colour = false): Kept {
  let all = ''
  return {
    isTerminal: columns !== Infinity,
    columns,
    colour,
    write: (more) => void (all += more),
    written: () => all,
  }
}

/** A program with one command of each kind; `calls` keeps what its commands are given. */
export function kitchen(outputs: Outputs, calls: unknown[] = []): Program {
  const program: Program = {
    name: 'kitchen',
    version: '1.2.3',
    byDefault: 'open',
    about: ['A program for the tests of the command table.'],
    commands: [
      command({
        name: 'open',
        summary: 'opens the kitchen; the same without a command',
        options: { menu: { short: 'm', value: FILE, oneDash: true, help: 'what can be ordered' } },
        args: {},
        examples: [{ line: '--menu today.txt', does: 'open with a menu' }],
        run: async ({ options: { menu } }) => {
          calls.push(['open', menu])
          return undefined
        },
      }),
      command({
        name: 'cook',
        summary: 'cooks dishes',
        options: {
          port: { value: PORT, help: 'of the stove' },
          minutes: { short: 'n', value: wholeNumber('MINUTES'), help: 'how long' },
          spice: { value: text('SPICE'), many: true, help: 'what goes into it' },
          heat: { value: oneOf('HEAT', ['low', 'medium', 'high']), help: 'how hot' },
          quick: { short: 'q', help: 'without a lid' },
          wild: { short: 'w', help: 'without a recipe' },
        },
        args: {
          method: { value: oneOf('METHOD', ['boil', 'bake']), help: 'how it is done' },
          dishes: {
            value: text('DISH', async () => ['soup', 'stew', 'bread']),
            many: true,
            help: 'name one or more',
          },
        },
        examples: [{ line: 'cook boil soup --spice salt --spice pepper', does: 'a soup with two spices' }],
        exits: { 0: 'it is eatable', 1: 'it is not' },
        run: async (given) => {
          // The types say what is there: a number, a list, one of three words.
          const minutes: number | undefined = given.options.minutes
          const spice: readonly string[] = given.options.spice
          const heat: 'low' | 'medium' | 'high' | undefined = given.options.heat
          calls.push([
            'cook',
            given.args.method,
            given.args.dishes,
            minutes,
            spice,
            heat,
            given.options.quick,
          ])
          return minutes === 0 ? 1 : 0
        },
      }),
      command({
        name: 'stock list',
        summary: 'what is there',
        options: { json: { help: 'for programs' } },
        args: { shelf: { value: text('SHELF'), optional: true, help: 'only this one' } },
        examples: [{ line: 'stock list', does: 'everything' }],
        run: async ({ args: { shelf }, options: { json } }) => {
          calls.push(['stock list', shelf, json])
          return 0
        },
      }),
      command({
        name: 'stock count',
        summary: 'how much is there',
        options: {},
        args: {},
        examples: [{ line: 'stock count', does: 'count it' }],
        run: async () => 0,
      }),
      ...standardCommands(() => program, outputs),
      completionCommand(() => program, outputs),
    ],
  }
  return program
}
