#!/usr/bin/env node
import { existsSync } from 'node:fs'
import { homedir, userInfo } from 'node:os'
import { basename, dirname, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { codeOf, DiscobotError, reasonOf } from '../config/errors.js'
import { keepHeapSmall } from './init/small-heap.js'
import { CONTAINER_SOCKET, readOptions, type AgentOptions } from './options.js'
import { readVersion } from './version.js'

const USAGE = `Usage: discobot-agent [run] [--isolate]
       discobot-agent status [--json]

Process 1 of a Discobot container: brings it up, keeps its services alive, takes it down in order.

  run               boot and supervise; what happens without a command too
    --isolate       as a real process 1, in namespaces of its own (root)
  status            what runs, what is missing, and how the boot went
    --json          for programs
  -h, --help        this text
  -v, --version     the version

Settings are environment variables that begin with DISCOBOT_; docs/environment.md lists them.
`

/** Wrong arguments: what shells and GNU tools use. */
const EXIT_USAGE = 2

async function main(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      isolate: { type: 'boolean' },
      json: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
      version: { type: 'boolean', short: 'v' },
    },
  })
  if (values.help === true) return say(USAGE)
  if (values.version === true) return say(`${readVersion(import.meta.url)}\n`)
  const [command = 'run', ...rest] = positionals
  if (rest.length > 0) return usageError(`unexpected argument ${JSON.stringify(rest[0])}`)
  const options = readOptions({
    env: process.env,
    pid: process.pid,
    uid: process.getuid?.() ?? -1,
    cwd: process.cwd(),
    homedir: homedir(),
  })
  switch (command) {
    case 'run':
      return values.isolate === true ? isolate(options) : run(options)
    case 'status':
      return status(options, values.json === true)
    default:
      return usageError(`unknown command ${JSON.stringify(command)}`)
  }
}

async function run(options: AgentOptions): Promise<number> {
  keepHeapSmall()
  const [{ createLogger }, { runAgent }, { systemClock }, { findPrograms }] = await Promise.all([
    import('../config/logger.js'),
    import('./run.js'),
    import('./init/clock.js'),
    import('./programs.js'),
  ])
  return runAgent({
    options,
    version: readVersion(import.meta.url),
    logger: createLogger(options.log),
    clock: systemClock,
    programs: findPrograms({
      execPath: process.execPath,
      moduleUrl: import.meta.url,
      knowsEnvProxy: process.allowedNodeEnvironmentFlags.has('--use-env-proxy'),
      imageBin: options.mode === 'container' ? '/opt/discobot/bin' : '/nonexistent',
    }),
    self: { uid: process.getuid?.() ?? -1, name: userInfo().username },
    cwd: process.cwd(),
    print: (text) => process.stdout.write(text),
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

/** Prints what the running agent says of itself. 0 when it answers, whatever it says. */
async function status(options: AgentOptions, json: boolean): Promise<number> {
  const [{ fetchStatus }, { renderStatus }] = await Promise.all([
    import('./control/client.js'),
    import('./control/status-table.js'),
  ])
  const found = await fetchStatus(controlSocket(options))
  const colour = process.stdout.isTTY && process.env['NO_COLOR'] === undefined
  return say(
    `${json ? JSON.stringify(found, undefined, 2) : renderStatus(found, { colour, now: new Date() })}\n`,
  )
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
  const program = /\.m?js$/.test(script) ? `node ${shortest}` : script
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
    if (codeOf(error)?.startsWith('ERR_PARSE_ARGS') === true) process.exit(usageError(reasonOf(error)))
    const known = error instanceof DiscobotError
    process.stderr.write(
      `discobot-agent: ${known ? reasonOf(error) : error instanceof Error ? error.stack : String(error)}\n`,
    )
    process.exit(1)
  },
)
