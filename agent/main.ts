#!/usr/bin/env node
import { existsSync } from 'node:fs'
import { homedir, userInfo } from 'node:os'
import { basename, dirname, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { CommandLineError, readCommandLine, unknownName } from '../config/command-line.js'
import { DiscobotError, reasonOf } from '../config/errors.js'
import type { CommandDeps } from './control/commands.js'
import { CONTAINER_SOCKET, readOptions, type AgentOptions } from './options.js'
import { isImageInContainer } from './place.js'
import { readVersion } from '../config/version.js'

/** As the agent has it where nobody says. */
const DEFAULT_LINES = 100

const USAGE = `Usage: discobot-agent [run] [--isolate]
       discobot-agent status [--json]
       discobot-agent logs [-f] [-n LINES] [--json] [SERVICE]
       discobot-agent start | stop | restart SERVICE
       discobot-agent signal SIGNAL [SERVICE]
       discobot-agent reload
       discobot-agent healthcheck [--json]
       discobot-agent doctor [--json]
       discobot-agent config check [--json] [FILE]
       discobot-agent help | version

Process 1 of a Discobot container: brings it up, keeps its services alive, takes it down in order.

  run               boot and supervise; what happens without a command too
    --isolate       as a real process 1, in namespaces of its own (root)
  status            what runs, what is missing, and how the boot went
  logs              what services have said; "agent" is process 1 itself
    -f, --follow    and go on
    -n, --lines     of what is there already, ${DEFAULT_LINES} unless given
  start, stop, restart
                    one service, as root; ends when it is ready, or gone
  signal            sends a signal to a service, or to process 1, as root
  reload            has the configuration and the files of services read again, as root
  doctor            what is known to go wrong: each with what to do about it; ends with 1 if something does not work
  config check      what is wrong with a file, or with all that the agent reads, by file, line and column
  healthcheck       ends with 0 when the container does its work, else with 1
    --json          for programs
  -h, --help        this text
  -v, --version     the version

Settings are environment variables that begin with DISCOBOT_; docs/environment.md lists them.
`

/** Wrong arguments: what shells and GNU tools use. */
const EXIT_USAGE = 2

async function main(args: string[]): Promise<number> {
  const { values, positionals } = readCommandLine(args, {
    isolate: { type: 'boolean' },
    json: { type: 'boolean' },
    follow: { type: 'boolean', short: 'f' },
    lines: { type: 'string', short: 'n' },
    help: { type: 'boolean', short: 'h' },
    version: { type: 'boolean', short: 'v' },
  })
  if (values.help === true || positionals[0] === 'help') return say(USAGE)
  if (values.version === true || positionals[0] === 'version') return say(`${readVersion(import.meta.url)}\n`)
  const [command = 'run', ...rest] = positionals
  const wanted = Object.hasOwn(ARGUMENTS, command) ? ARGUMENTS[command] : undefined
  if (wanted === undefined)
    return usageError(unknownName('command', command, [...Object.keys(ARGUMENTS), 'help', 'version']))
  if (rest.length > wanted.length)
    return usageError(`unexpected argument ${JSON.stringify(rest[wanted.length])}`)
  const missing = wanted.slice(rest.length).find((name) => !name.startsWith('['))
  if (missing !== undefined) return usageError(`${command} needs ${missing}`)
  const options = readOptions({
    env: process.env,
    ...(looksFromInside(command) ? { pid: 1, uid: 0 } : { pid: process.pid, uid: process.getuid?.() ?? -1 }),
    ofImage: isImageInContainer(fileURLToPath(import.meta.url)),
    cwd: process.cwd(),
    homedir: homedir(),
  })
  if (command === 'config' && rest[0] !== 'check') return usageError(`config can only "check"`)
  if (command === 'run') return values.isolate === true ? isolate(options) : run(options)
  const lines = values.lines ?? String(DEFAULT_LINES)
  if (!/^\d{1,9}$/.test(lines)) return usageError(`-n takes a number, not ${JSON.stringify(lines)}`)
  return ask(command, rest, options, {
    json: values.json === true,
    follow: values.follow === true,
    lines: Number(lines),
  })
}

/** These look at the settings of a container's process 1, which they are not. */
function looksFromInside(command: string): boolean {
  return (command === 'doctor' || command === 'config') && existsSync(CONTAINER_SOCKET)
}

/** What each command takes; brackets around what may be left out. */
const ARGUMENTS: Readonly<Record<string, readonly string[]>> = {
  run: [],
  status: [],
  logs: ['[SERVICE]'],
  start: ['SERVICE'],
  stop: ['SERVICE'],
  restart: ['SERVICE'],
  signal: ['SIGNAL', '[SERVICE]'],
  reload: [],
  healthcheck: [],
  doctor: [],
  config: ['"check"', '[FILE]'],
}

async function run(options: AgentOptions): Promise<number> {
  // Whoever read our output has gone, which is no reason to end.
  process.stdout.on('error', () => undefined)
  const [
    { createLogger },
    { LineOutput },
    { standardOutput },
    { runAgent },
    { systemClock },
    { findPrograms },
  ] = await Promise.all([
    import('../config/logger.js'),
    import('../config/line-output.js'),
    import('../config/standard-output.js'),
    import('./run.js'),
    import('./init/clock.js'),
    import('./programs.js'),
  ])
  const terminal = new LineOutput(standardOutput(1).descriptor, () => undefined)
  return runAgent({
    options,
    version: readVersion(import.meta.url),
    logger: createLogger(options.log),
    clock: systemClock,
    programs: findPrograms({
      execPath: process.execPath,
      moduleUrl: import.meta.url,
      knowsEnvProxy: () => process.allowedNodeEnvironmentFlags.has('--use-env-proxy'),
      imageBin: options.mode === 'container' ? '/opt/discobot/bin' : '/nonexistent',
    }),
    self: { uid: process.getuid?.() ?? -1, name: userInfo().username },
    cwd: process.cwd(),
    print: (text) => terminal.write(text),
    terminal: process.stdout.isTTY,
    colour: process.stdout.isTTY && process.env['NO_COLOR'] === undefined,
    command: ownCommand(options),
  })
}

async function isolate(options: AgentOptions): Promise<number> {
  const [{ createLogger }, { runIsolated }] = await Promise.all([
    import('../config/logger.js'),
    import('./isolate/run.js'),
  ])
  const main = fileURLToPath(import.meta.url)
  return runIsolated({
    env: process.env,
    command: [process.execPath, main, 'run'],
    projectDir: projectDir(main),
    dataDir: options.data.root,
    logger: createLogger(options.log),
  })
}

interface AskOptions {
  readonly json: boolean
  readonly follow: boolean
  readonly lines: number
}

/** What is asked of an agent that runs already. */
async function ask(
  command: string,
  [first = '', second]: readonly string[],
  options: AgentOptions,
  { json, follow, lines }: AskOptions,
): Promise<number> {
  const commands = await import('./control/commands.js')
  const over = new AbortController()
  // Who piped us into `head` has read enough.
  process.stdout.on('error', () => over.abort())
  const deps: CommandDeps = {
    socketPath: controlSocket(options),
    print: (text) => new Promise((resolve) => process.stdout.write(text, () => resolve())),
    json,
    colour: process.stdout.isTTY && process.env['NO_COLOR'] === undefined,
    now: () => new Date(),
    over: over.signal,
  }
  switch (command) {
    case 'status':
      return commands.showStatus(deps)
    case 'doctor':
      return (await import('./doctor/command.js')).showDoctor(deps, options, process.getuid?.() ?? -1)
    case 'config':
      return (await import('./config-check.js')).checkConfig(deps, options, second)
    case 'healthcheck':
      return commands.checkHealth(deps)
    case 'logs':
      return commands.showLogs(deps, { lines, follow, ...(first === '' ? {} : { service: first }) })
    case 'start':
    case 'stop':
    case 'restart':
      return commands.changeService(deps, command, first)
    case 'signal':
      return commands.sendSignal(deps, first, second)
    default:
      return commands.reload(deps)
  }
}

/** We are not process 1 when somebody looks into a container, so its socket is tried as well. */
function controlSocket(options: AgentOptions): string {
  const named = process.env['DISCOBOT_AGENT_SOCKET']
  if (named !== undefined && named !== '') return named
  return [options.controlSocket, CONTAINER_SOCKET].find((path) => existsSync(path)) ?? options.controlSocket
}

/** Node's modules and the built code are below it. */
function projectDir(main: string): string {
  const folder = dirname(dirname(main))
  return basename(folder) === 'dist' ? dirname(folder) : folder
}

/** As it can be typed again from here, and finds this agent. */
function ownCommand({ mode, data }: AgentOptions): string {
  const script = process.argv[1] ?? 'discobot-agent'
  const main = fileURLToPath(import.meta.url)
  const fromHere = relative(process.cwd(), main)
  const shortest = process.cwd() === '/' || fromHere.startsWith('..') ? main : fromHere
  const program = /\.c?js$/.test(script) ? `node ${shortest}` : script
  const found = mode === 'container' || data.root === resolve('.data')
  return found ? program : `DISCOBOT_DATA_DIR=${data.root} ${program}`
}

function say(text: string): number {
  process.stdout.write(text)
  return 0
}

function usageError(problem: string): number {
  process.stderr.write(`discobot-agent: ${problem}\n\n${USAGE}`)
  return EXIT_USAGE
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error: unknown) => {
    if (error instanceof CommandLineError) process.exit(usageError(reasonOf(error)))
    const known = error instanceof DiscobotError
    process.stderr.write(
      `discobot-agent: ${known ? reasonOf(error) : error instanceof Error ? error.stack : String(error)}\n`,
    )
    process.exit(1)
  },
)
