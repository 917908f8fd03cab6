import { command, type Command, type Program } from './command.js'
import type { Outputs } from './terminal.js'
import { text } from './values.js'

/** The commands that every program of ours has, whatever else it does. */
export function standardCommands(program: () => Program, { stdout, stderr }: Outputs): readonly Command[] {
  const commandNames = async (): Promise<readonly string[]> => program().commands.map(({ name }) => name)
  return [
    command({
      name: 'help',
      summary: 'this text, or what a command does',
      options: {},
      args: {
        command: {
          value: text('COMMAND', commandNames),
          optional: true,
          many: true,
          help: 'the command to explain; all of them unless given',
        },
      },
      examples: [{ line: 'help version', does: 'explain one command' }],
      run: async ({ args }) => {
        const { showHelp } = await import('./help.js')
        showHelp(program(), args.command, { stdout, stderr })
        return 0
      },
    }),
    command({
      name: 'version',
      summary: 'the version of this program',
      options: {},
      args: {},
      examples: [{ line: 'version', does: 'print the version' }],
      run: async () => {
        stdout.write(`${program().version}\n`)
        return 0
      },
    }),
  ]
}
