import { commandWords } from '../../base/cli/command-line.js'
import { command, type Command, type Program } from '../../base/cli/command.js'
import { completionCommand } from '../../base/cli/completion-command.js'
import type { Outputs } from '../../base/cli/terminal.js'
import { standardCommands } from '../../base/cli/standard-commands.js'
import { FILE, text, wholeNumber } from '../../base/cli/values.js'
import { SERVICE_VERBS, type ServiceVerb } from '../control/actions.js'
import type { CommandDeps } from './commands/commands.js'
import type { AgentOptions } from '../settings/options.js'

/** The table needs these of the process; `main.ts` provides them. */
export interface AgentEntry extends Outputs {
  readonly version: string
  /** Boots, and resolves with the exit code when all has been taken down. */
  run(): Promise<number>
  /** The same in namespaces of its own. */
  isolate(): Promise<number>
  /** Our command line as the user's own command, ready to be run; undefined where it is none. */
  userCommand(args: readonly string[], ours: readonly string[]): Promise<(() => Promise<number>) | undefined>
  /** How the commands ask an agent that runs, found by `options`, or our own settings. @throws OptionsError */
  asking(json: boolean, options?: AgentOptions): CommandDeps
  /** The settings that the agent here has, or would have. @throws OptionsError */
  inspected(): AgentOptions
  readonly uid: number
}

const JSON_OPTION = { help: 'for programs: JSON instead of text' } as const
/** Unless `logs -n` says otherwise. */
const DEFAULT_LINES = 100
/** What services and process 1 are sent; any other name works as well. */
const SIGNALS = ['HUP', 'TERM', 'INT', 'QUIT', 'USR1', 'USR2', 'WINCH'] as const

/** Everything that `discobot-agent` understands. Each row brings in what does its work when it is chosen. */
export function agentProgram(entry: AgentEntry): Program {
  const program: Program = {
    name: 'discobot-agent',
    version: entry.version,
    byDefault: 'run',
    about: [
      'Process 1 of a Discobot container: brings it up, keeps its services alive, takes it down in order. The other commands ask the agent that runs.',
    ],
    otherwise: {
      usage: '[run] -- COMMAND [ARGUMENT…]',
      summary:
        'boot, then run that as the user, and end with its exit code. What a container is started with, as in "docker run IMAGE bash", needs no "--"',
      take: async (args) => (args.length === 0 ? undefined : entry.userCommand(args, commandWords(program))),
    },
    notes: ['Settings are environment variables that begin with DISCOBOT_; docs/environment.md lists them.'],
    commands: [
      runCommand(entry),
      ...lookingCommands(entry),
      ...changingCommands(entry),
      ...checkingCommands(entry),
      ...standardCommands(() => program, entry),
      completionCommand(() => program, entry),
    ],
  }
  return program
}

function runCommand({ run, isolate }: AgentEntry): Command {
  return command({
    name: 'run',
    summary: 'boot and supervise; the same without a command',
    options: { isolate: { help: 'as a real process 1, in namespaces of its own (needs root)' } },
    args: {},
    examples: [
      { line: 'run', does: 'start everything here; Ctrl-C stops it in order' },
      { line: 'run --isolate', does: 'start it in a throwaway container without Docker' },
    ],
    run: ({ options }) => (options.isolate ? isolate() : run()),
  })
}

function lookingCommands({ asking }: AgentEntry): readonly Command[] {
  return [
    command({
      name: 'status',
      summary: 'what runs, what is missing, and how the boot went',
      options: { json: JSON_OPTION },
      args: {},
      examples: [
        { line: 'status', does: 'show services, what is missing, and the boot' },
        { line: 'status --json', does: 'the same for programs' },
      ],
      exits: { 0: 'the agent has answered, whatever it says', 1: 'no agent answers' },
      run: async ({ options: { json } }) => (await commands()).showStatus(asking(json)),
    }),
    command({
      name: 'logs',
      summary: 'what services have said',
      about: ['Shows the latest lines of one service, or of all. "agent" is process 1 itself.'],
      options: {
        follow: { short: 'f', help: 'and go on' },
        lines: {
          short: 'n',
          value: wholeNumber('LINES'),
          help: `of what is there already, ${DEFAULT_LINES} unless given`,
        },
        json: JSON_OPTION,
      },
      args: { service: { value: serviceName(asking), optional: true, help: 'only this one' } },
      examples: [
        { line: 'logs -f proxy', does: 'follow what the proxy says' },
        { line: 'logs -n 20', does: 'the latest 20 lines of all services' },
      ],
      run: async ({ args: { service }, options: { follow, lines = DEFAULT_LINES, json } }) =>
        (await commands()).showLogs(asking(json), {
          lines,
          follow,
          ...(service === undefined ? {} : { service }),
        }),
    }),
    command({
      name: 'healthcheck',
      summary: 'whether the container does its work',
      options: { json: JSON_OPTION },
      args: {},
      examples: [{ line: 'healthcheck', does: "what the image's HEALTHCHECK asks" }],
      exits: { 0: 'it does', 1: 'it does not; a line says why' },
      run: async ({ options: { json } }) => (await commands()).checkHealth(asking(json)),
    }),
  ]
}

const VERB_WORDS: Readonly<Record<ServiceVerb, { readonly summary: string; readonly does: string }>> = {
  start: { summary: 'starts a service, as root; ends when it is ready', does: 'start dockerd again' },
  stop: {
    summary: 'stops a service, as root; ends when nothing of it runs',
    does: 'stop dockerd until it is started',
  },
  restart: {
    summary: 'stops and starts a service, as root',
    does: 'end dockerd in order and start it again',
  },
}

function changingCommands({ asking }: AgentEntry): readonly Command[] {
  const service = serviceName(asking)
  return [
    ...SERVICE_VERBS.map((verb) =>
      command({
        name: verb,
        summary: VERB_WORDS[verb].summary,
        options: { json: JSON_OPTION },
        args: {
          service: { value: service, help: 'the name of a service; "discobot-agent status" lists them' },
        },
        examples: [{ line: `${verb} dockerd`, does: VERB_WORDS[verb].does }],
        exits: { 0: 'it is done', 1: 'it cannot be done; a line says why' },
        run: async ({ args, options: { json } }) =>
          (await commands()).changeService(asking(json), verb, args.service),
      }),
    ),
    command({
      name: 'signal',
      summary: 'sends a signal to a service, or to process 1, as root',
      options: {},
      args: {
        signal: { value: text('SIGNAL', SIGNALS), help: 'its name, such as HUP or TERM' },
        service: { value: service, optional: true, help: 'to whom; process 1 unless given' },
      },
      examples: [
        { line: 'signal HUP proxy', does: 'have the proxy read its configuration again' },
        { line: 'signal TERM', does: 'end the container in order' },
      ],
      exits: { 0: 'somebody has taken it', 1: 'nobody runs to take it' },
      run: async ({ args }) => (await commands()).sendSignal(asking(false), args.signal, args.service),
    }),
    command({
      name: 'reload',
      summary: 'has the configuration and the files of services read again, as root',
      options: {},
      args: {},
      examples: [{ line: 'reload', does: 'take up what was changed' }],
      exits: { 0: 'it is in force', 1: 'it cannot be used; a line says why' },
      run: async () => (await commands()).reload(asking(false)),
    }),
  ]
}

function checkingCommands({ asking, inspected, uid }: AgentEntry): readonly Command[] {
  return [
    command({
      name: 'doctor',
      summary: 'what is known to go wrong: each with what to do about it',
      about: [
        'Looks at what is known to go wrong (ports, proxy, certificates, rights, tools, disk, settings, services), and says for each what to do about it. Works without a running agent too.',
      ],
      options: { json: JSON_OPTION },
      args: {},
      examples: [{ line: 'doctor', does: 'look at everything' }],
      exits: { 0: 'everything works', 1: 'something does not work' },
      run: async ({ options: { json } }) => {
        const options = inspected()
        const { showDoctor } = await import('./doctor/command.js')
        return showDoctor(asking(json, options), options, uid)
      },
    }),
    command({
      name: 'config check',
      summary: 'what is wrong with a file, or with all that the agent reads',
      about: [
        'Names the file, line and column of every mistake in a configuration of the proxy or a file of services. Changes nothing, and needs no agent.',
      ],
      options: { json: JSON_OPTION },
      args: {
        file: { value: FILE, optional: true, help: 'only this one; all that the agent reads unless given' },
      },
      examples: [
        { line: 'config check', does: 'check all that the agent reads' },
        { line: 'config check .discobot/services.yaml', does: 'check one file before it is used' },
      ],
      exits: { 0: 'no mistakes', 1: 'there are mistakes' },
      run: async ({ args: { file }, options: { json } }) => {
        const options = inspected()
        const { checkConfig } = await import('./commands/config-check.js')
        return checkConfig(asking(json, options), options, file)
      },
    }),
  ]
}

function serviceName(asking: AgentEntry['asking']): ReturnType<typeof text> {
  return text('SERVICE', async () => {
    const { fetchStatus } = await import('../control/client.js')
    const { services } = await fetchStatus(asking(false).socketPath)
    return services.map(({ name }) => name)
  })
}

function commands(): Promise<typeof import('./commands/commands.js')> {
  return import('./commands/commands.js')
}
