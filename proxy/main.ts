#!/usr/bin/env node
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { CommandLineError, readCommandLine, unknownName } from '../config/command-line.js'
import { DiscobotError, reasonOf } from '../config/errors.js'
import { HANDOVER_FD_VARIABLE, takeHandover } from '../config/handover.js'
import {
  NAMES_PORT_VARIABLE,
  OWN_PORTS_VARIABLE,
  portsIn,
  SECRETS_WITHHELD_VARIABLE,
} from '../config/told-by-agent.js'
import { LISTENERS_VARIABLE, listenersOf } from '../config/held-listeners.js'
import { dataDirWhenUnnamed } from '../config/paths.js'
import { READY_FD_VARIABLE, signalReady } from '../config/ready-signal.js'
import { keepHeapSmall } from '../config/small-heap.js'
import { readVersion } from '../config/version.js'
import { runProxy } from './run.js'
import { generateLeafKey } from './tls/leaf.js'

const USAGE = `Usage: discobot-proxy [--config FILE]
       discobot-proxy explain METHOD URL [--config FILE] [--api-port PORT] [--json]
       discobot-proxy cache [--api-port PORT] [--json]
       discobot-proxy prewarm IMAGE|URL… [--platform OS/ARCH] [--json]
       discobot-proxy export [-o FILE] [--rule NAME]… [--config FILE]
       discobot-proxy import FILE [--config FILE]
       discobot-proxy help [COMMAND]

The caching HTTPS proxy of Discobot. Without --config the built-in defaults apply.

  -c, --config FILE   YAML configuration (also: -config FILE)
  -h, --help          this text; after a command, what that does
  -v, --version       the version

Environment:
  DISCOBOT_DATA_DIR   where certificates and cache go by default: /.data
                      where that is there, else ./.data
  and whatever variables the configuration names as secrets

Signals: SIGHUP reads the file again, SIGTERM ends what is under way and exits 0.
`

const COMMANDS = ['explain', 'prewarm', 'export', 'import', 'cache', 'help', 'version']

async function main(args: readonly string[]): Promise<void> {
  // The description this project follows starts the proxy with a single dash.
  const normal = args.map((arg) => (arg === '-config' ? '--config' : arg))
  // `help COMMAND` is what that command says of itself.
  const [command, ...rest] = normal[0] === 'help' && normal[1] !== undefined ? [normal[1], '--help'] : normal
  if (command === 'explain') return explainAndExit(rest)
  if (command === 'prewarm') return prewarmAndExit(rest)
  if (command === 'cache') return cacheAndExit(rest)
  if (command === 'export' || command === 'import') return archiveAndExit(command, rest)
  const { values, positionals } = readCommandLine(normal, {
    config: { type: 'string', short: 'c' },
    help: { type: 'boolean', short: 'h' },
    version: { type: 'boolean', short: 'v' },
  })
  const [unknown] = positionals
  if (values.help === true || unknown === 'help') {
    process.stdout.write(USAGE)
    return
  }
  if (values.version === true || unknown === 'version') {
    process.stdout.write(`${readVersion(import.meta.url)}\n`)
    return
  }
  if (unknown !== undefined) throw new CommandLineError(unknownName('command', unknown, COMMANDS))
  const dataDir = dataDirOf(process.env)
  const leafKey = generateLeafKey()
  awaitGoAhead()
  const starting = runProxy({
    env: process.env,
    ...(values.config === undefined ? {} : { configFile: values.config }),
    dataDir,
    ...namesPort(process.env[NAMES_PORT_VARIABLE]),
    ownPorts: portsIn(process.env[OWN_PORTS_VARIABLE]),
    secretsWithheld: process.env[SECRETS_WITHHELD_VARIABLE],
    leafKey,
    listenAt: listenersOf(process.env[LISTENERS_VARIABLE]),
  })
  // A start that fails is reported below; what else fails here ends as it would there.
  const ignored = (): void => undefined
  // At once: who reads in the log that we are ready may send a signal in the same moment.
  const stop = (): void => {
    starting.then((proxy) => proxy.stop().then(() => process.exit(0)), ignored).catch(failed)
  }
  process.once('SIGTERM', stop)
  process.once('SIGINT', stop)
  process.on('SIGHUP', () => {
    starting.then((proxy) => proxy.reload(), ignored).catch(failed)
  })
  await starting
  // Not before: reading its modules is quicker with a large one.
  keepHeapSmall()
  signalReady(process.env[READY_FD_VARIABLE])
}

/**
 * Waits until our configuration is there, and takes the secrets that it names into the environment: each is read from
 * there when it is needed, where an object would keep all of them in the heap. `/proc/PID/environ` shows what a process
 * was started with, not these. @throws HandoverError
 */
function awaitGoAhead(): void {
  const given = takeHandover(process.env[HANDOVER_FD_VARIABLE])
  for (const [name, value] of Object.entries(given?.env ?? {})) process.env[name] ??= value
}

async function explainAndExit(args: readonly string[]): Promise<void> {
  // Nothing of it is needed to serve.
  const { EXPLAIN_USAGE, explainCommand } = await import('./explain-command.js')
  const { ExplainUsageError } = await import('./explain-question.js')
  const { apiAccess } = await import('./warm/api-access.js')
  await commandAndExit(EXPLAIN_USAGE, ExplainUsageError, async () => {
    const { output, exitCode } = await explainCommand(
      args,
      dataDirOf(process.env),
      await apiAccess({ ...process.env, DISCOBOT_DATA_DIR: dataDirOf(process.env) }),
    )
    process.stdout.write(output)
    return exitCode
  })
}

async function cacheAndExit(args: readonly string[]): Promise<void> {
  const { CACHE_USAGE, cacheCommand } = await import('./cache-command.js')
  const { WarmUsageError } = await import('./warm/command-errors.js')
  await commandAndExit(CACHE_USAGE, WarmUsageError, async () => {
    process.stdout.write(await cacheCommand(args))
    return 0
  })
}

async function prewarmAndExit(args: readonly string[]): Promise<void> {
  const { PREWARM_USAGE, prewarmCommand } = await import('./warm/prewarm-command.js')
  const { WarmUsageError } = await import('./warm/command-errors.js')
  const { apiAccess } = await import('./warm/api-access.js')
  const { stdout } = process
  const screen = {
    isTTY: stdout.isTTY === true,
    columns: stdout.columns ?? 80,
    write: (text: string) => void stdout.write(text),
  }
  await commandAndExit(PREWARM_USAGE, WarmUsageError, async () =>
    prewarmCommand(
      args,
      screen,
      (interrupt) => process.once('SIGINT', interrupt),
      await apiAccess({ ...process.env, DISCOBOT_DATA_DIR: dataDirOf(process.env) }),
    ),
  )
}

async function archiveAndExit(command: 'export' | 'import', args: readonly string[]): Promise<void> {
  const { ARCHIVE_USAGE, archiveCommand } = await import('./warm/archive-command.js')
  const { WarmUsageError } = await import('./warm/command-errors.js')
  const { createLogger } = await import('../config/logger.js')
  await commandAndExit(ARCHIVE_USAGE, WarmUsageError, () =>
    archiveCommand(command, args, {
      dataDir: dataDirOf(process.env),
      stdin: process.stdin,
      stdout: process.stdout,
      say: (text) => void process.stderr.write(text),
      logger: createLogger({ level: 'warn', format: 'text', stderr: true }),
    }),
  )
}

/** Wrong usage is answered with how the command is used; every other failure is the caller's to tell. */
async function commandAndExit(
  usage: string,
  UsageError: new (...args: never[]) => DiscobotError,
  command: () => Promise<number>,
): Promise<void> {
  try {
    process.exitCode = await command()
  } catch (error) {
    if (!(error instanceof UsageError) && !(error instanceof CommandLineError)) throw error
    process.stderr.write(`discobot-proxy: ${reasonOf(error)}\n\n${usage}`)
    process.exitCode = 2
  }
}

function namesPort(said: string | undefined): { readonly namesPort?: number } {
  const [port] = portsIn(said)
  return port === undefined ? {} : { namesPort: port }
}

function dataDirOf({ DISCOBOT_DATA_DIR: dataDir }: NodeJS.ProcessEnv): string {
  return resolve(dataDir === undefined || dataDir === '' ? dataDirWhenUnnamed(existsSync) : dataDir)
}

function failed(error: unknown): void {
  const usage = error instanceof CommandLineError
  // The system's words for a file that is not there or may not be read are for people; a stack is for our own faults.
  const known = error instanceof DiscobotError || isOfSystem(error)
  process.stderr.write(`discobot-proxy: ${known ? reasonOf(error) : String((error as Error).stack)}\n`)
  if (usage) process.stderr.write(`\n${USAGE}`)
  process.exit(usage ? 2 : 1)
}

function isOfSystem(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error
}

main(process.argv.slice(2)).catch(failed)
