import { command, type Command, type Program } from './command.js'
import type { Outputs } from './terminal.js'
import { SHELLS } from './shell.js'
import { oneOf, text } from './values.js'

/** `completion`: the script of a shell, and what that script asks for each time. */
export function completionCommand(program: () => Program, { stdout }: Pick<Outputs, 'stdout'>): Command {
  return command({
    name: 'completion',
    summary: 'what a shell needs to complete commands and options',
    about: [
      'Prints a script for the shell to read when it starts; the examples show how. With words behind "--" it prints what could stand in the place of the last one: that is how the script asks.',
    ],
    options: {},
    args: {
      shell: { value: oneOf('SHELL', SHELLS), help: 'bash, zsh or fish' },
      words: {
        value: text('WORD'),
        optional: true,
        many: true,
        help: 'a command line to complete, behind "--"',
      },
    },
    examples: [
      { line: 'completion bash', does: 'in ~/.bashrc, as: source <(… completion bash)' },
      { line: 'completion zsh', does: 'in ~/.zshrc behind compinit, as: source <(… completion zsh)' },
      { line: 'completion fish', does: 'in ~/.config/fish/config.fish, as: … completion fish | source' },
    ],
    run: async ({ args: { shell, words } }) => {
      if (words.length === 0) {
        const { completionScript } = await import('./shell-scripts.js')
        stdout.write(completionScript(shell, program().name))
        return 0
      }
      const { candidates, candidateLines } = await import('./completion.js')
      stdout.write(candidateLines(shell, await candidates(program(), shell, words)))
      return 0
    },
  })
}
