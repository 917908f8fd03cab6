import { command, type Program } from '../../base/cli/command.js'
import type { Outputs } from '../../base/cli/terminal.js'
import { standardCommands } from '../../base/cli/standard-commands.js'

export interface ApiEntry extends Outputs {
  readonly version: string
  /** Resolves when the API answers, which it then does until a signal ends it. */
  serve(): Promise<undefined>
}

/** Everything that `agent-api` understands; the agent starts it without arguments. */
export function apiProgram(entry: ApiEntry): Program {
  const program: Program = {
    name: 'discobot-agent-api',
    version: entry.version,
    byDefault: 'run',
    about: ['The HTTP API of a Discobot container: commands, terminals, files and git of the workspace.'],
    notes: ['Settings are environment variables; docs/environment.md lists them. The agent starts it.'],
    commands: [
      command({
        name: 'run',
        summary: 'serve until a signal ends it; the same without a command',
        options: {},
        args: {},
        examples: [{ line: 'run', does: 'serve on 127.0.0.1:3002' }],
        exits: { 0: 'it was stopped', 1: 'it cannot start' },
        run: entry.serve,
      }),
      ...standardCommands(() => program, entry),
    ],
  }
  return program
}
