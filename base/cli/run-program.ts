import type { Command, Program } from './command.js'
import { commandNamed, findCommand, readArguments } from './command-line.js'
import { isCommandLineError } from './errors.js'
import type { Outputs } from './terminal.js'

/** Wrong arguments: the number of shells and GNU tools. */
const EXIT_USAGE = 2

/**
 * Does what the command line says. A mistake in it is told first, then how it would be right.
 *
 * @returns the exit code, or undefined when the process goes on. Rejects with whatever a command rejects with.
 */
export async function runProgram(
  program: Program,
  args: readonly string[],
  outputs: Outputs,
): Promise<number | undefined> {
  let command: Command | undefined
  try {
    const passOn = await program.otherwise?.take(args)
    if (passOn !== undefined) return await passOn()
    const asked = findCommand(program, args)
    command = asked.command
    const given = readArguments(command, asked.args)
    if (given === 'version') return await commandNamed(program, 'version').run({ options: {}, args: {} })
    // Without a command the program itself is meant.
    if (given === 'help') {
      const { showHelp } = await import('./help.js')
      const isProgram = asked.args.length === args.length
      showHelp(program, isProgram ? [] : command.name.split(' '), outputs)
      return 0
    }
    return await command.run(given)
  } catch (error) {
    if (!isCommandLineError(error)) throw error
    const { usageAndMore } = await import('./help.js')
    const { stderr } = outputs
    stderr.write(`${program.name}: ${error.message}\n\n${usageAndMore(program, command, stderr)}`)
    return EXIT_USAGE
  }
}
