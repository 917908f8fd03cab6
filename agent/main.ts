#!/usr/bin/env node
import { existsSync } from 'node:fs'
import { homedir, userInfo } from 'node:os'
import { basename, dirname, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { terminalOf } from '../base/cli/terminal.js'
import { DiscobotError, reasonOf } from '../config/errors.js'
import { agentProgram, type AgentEntry } from './cli/program.js'
import type { CommandDeps } from './control/commands.js'
import { CONTAINER_SOCKET, readOptions, type AgentOptions } from './options.js'
import { isImageInContainer } from './place.js'
import { readVersion } from '../config/version.js'

const stdout = terminalOf(() => process.stdout, process.env)
const stderr = terminalOf(() => process.stderr, process.env)

const entry: AgentEntry = {
  version: readVersion(import.meta.url),
  stdout,
  stderr,
  run: async () => run(ownOptions()),
  isolate: async () => isolate(ownOptions()),
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
    version: entry.version,
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
    terminal: stdout.isTerminal,
    colour: stdout.colour,
    columns: stdout.columns,
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
  // As a container starts it: nothing has to be read, and the table costs milliseconds.
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
