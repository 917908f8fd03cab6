#!/usr/bin/env node
import { existsSync } from 'node:fs'
import { homedir, userInfo } from 'node:os'
import { basename, dirname, relative, resolve } from 'node:path'
import { isatty } from 'node:tty'
import { fileURLToPath } from 'node:url'
import { unknownName } from '../base/cli/command-line.js'
import { terminalOf } from '../base/cli/terminal.js'
import { DiscobotError, reasonOf } from '../base/errors.js'
import { agentProgram, type AgentEntry } from './cli/program.js'
import type { CommandSurroundings } from './command/command-in-front.js'
import type { CommandDeps } from './cli/commands/commands.js'
import { CONTAINER_SOCKET, readOptions, type AgentOptions } from './settings/options.js'
import { isImageInContainer } from './settings/place.js'
import { readVersion } from '../base/version.js'

const stdout = terminalOf(() => process.stdout, process.env)
const stderr = terminalOf(() => process.stderr, process.env)

const entry: AgentEntry = {
  version: readVersion(import.meta.url),
  stdout,
  stderr,
  run: async () => run(ownOptions()),
  isolate: async () => isolate(ownOptions()),
  userCommand,
  asking,
  // A container's process 1 has other settings than we would have beside it.
  inspected: () => (existsSync(CONTAINER_SOCKET) ? optionsOf(1, 0) : ownOptions()),
  uid: process.getuid?.() ?? -1,
}

function ownOptions(): AgentOptions {
  return optionsOf(process.pid, process.getuid?.() ?? -1)
}

/** The settings as the process with this number and account has them. @throws OptionsError */
function optionsOf(pid: number, uid: number): AgentOptions {
  return readOptions({
    env: process.env,
    pid,
    uid,
    ofImage: isImageInContainer(fileURLToPath(import.meta.url)),
    cwd: process.cwd(),
    homedir: homedir(),
  })
}

type Words = readonly [string, ...string[]]

/** That of a shell for what it cannot find. */
const EXIT_NOT_FOUND = 127

/** The command that our command line is, as in `docker run IMAGE bash`; undefined where it is for us. */
async function userCommand(
  args: readonly string[],
  ours: readonly string[],
): Promise<(() => Promise<number>) | undefined> {
  const { isMissing, userWords } = await import('./command/command-words.js')
  const words = await userWords(args, ours, {
    pid: process.pid,
    parentPid: process.ppid,
    ofImage: isImageInContainer(fileURLToPath(import.meta.url)),
    controlSocket: CONTAINER_SOCKET,
  })
  if (words === undefined) return undefined
  return async () =>
    isMissing(words, process.env['PATH']) ? notFound(words[0], ours) : run(ownOptions(), words)
}

function notFound(program: string, ours: readonly string[]): number {
  const near = unknownName('command', program, ours)
  stderr.write(`discobot-agent: cannot run ${JSON.stringify(program)}: no such program on PATH; ${near}\n`)
  return EXIT_NOT_FOUND
}

/** @param words the user's own command, which has our standard streams then. */
async function run(options: AgentOptions, words?: Words): Promise<number> {
  // Whoever read our output has gone, which is no reason to end. A stream of Node's would make it one that answers
  // "try again", which programs that have it too do not expect.
  if (words === undefined) process.stdout.on('error', () => undefined)
  const [
    { createLogger },
    { LineOutput },
    { standardOutput },
    { runAgent },
    { systemClock },
    { findPrograms },
  ] = await Promise.all([
    import('../base/log/logger.js'),
    import('../base/log/line-output.js'),
    import('../base/log/standard-output.js'),
    import('./run.js'),
    import('./process/clock.js'),
    import('./settings/programs.js'),
  ])
  const terminal = new LineOutput(standardOutput(1, words !== undefined).descriptor, () => undefined)
  const own = words === undefined ? { logger: createLogger(options.log) } : await inFront(options, words)
  return runAgent({
    ...own,
    options,
    version: entry.version,
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
    ...(words === undefined
      ? { terminal: stdout.isTerminal, colour: stdout.colour, columns: stdout.columns }
      : { terminal: false, colour: false, columns: stdout.columns }),
    command: ownCommand(options),
  })
}

/** The user's command, and the log beside it: on the error output only what is wrong, unless more is asked for. */
async function inFront(options: AgentOptions, words: Words) {
  const [{ createLogger }, { CommandScreen }, { CommandInFront }] = await Promise.all([
    import('../base/log/logger.js'),
    import('./command/command-screen.js'),
    import('./command/command-in-front.js'),
  ])
  const isNamed = (process.env['DISCOBOT_LOG_LEVEL'] ?? '') !== ''
  const level = isNamed ? options.log.level : 'warn'
  const shown = createLogger({ ...options.log, level, stderr: true, shared: true })
  const screen = new CommandScreen(shown, options.log.level, isatty(2))
  const request = { words, screen, options, self: userInfo().username, cwd: process.cwd() }
  return {
    logger: screen.logger,
    inFront: (surroundings: CommandSurroundings) => new CommandInFront(request, surroundings),
  }
}

async function isolate(options: AgentOptions): Promise<number> {
  const [{ createLogger }, { runIsolated }] = await Promise.all([
    import('../base/log/logger.js'),
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

/** How an agent that runs already is asked. @throws OptionsError */
function asking(json: boolean, options = ownOptions()): CommandDeps {
  const over = new AbortController()
  // Who piped us into `head` has read enough.
  process.stdout.on('error', () => over.abort())
  return {
    socketPath: controlSocket(options),
    print: (text) => new Promise((resolve) => process.stdout.write(text, () => resolve())),
    json,
    colour: stdout.colour,
    columns: stdout.columns,
    now: () => new Date(),
    over: over.signal,
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

async function main(args: readonly string[]): Promise<number | undefined> {
  // A container starts it without arguments: there is nothing to parse, and reading the table costs milliseconds.
  if (args.length === 0) return entry.run()
  const { runProgram } = await import('../base/cli/run-program.js')
  return runProgram(agentProgram(entry), args, entry)
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error: unknown) => {
    const known = error instanceof DiscobotError
    process.stderr.write(
      `discobot-agent: ${known ? reasonOf(error) : error instanceof Error ? error.stack : String(error)}\n`,
    )
    process.exit(1)
  },
)
