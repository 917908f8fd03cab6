#!/usr/bin/env node
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { terminalOf } from '../base/cli/terminal.js'
import { DiscobotError, reasonOf } from '../base/errors.js'
import { HANDOVER_FD_VARIABLE, takeHandover } from '../base/process/handover.js'
import {
  NAMES_PORT_VARIABLE,
  OWN_PORTS_VARIABLE,
  portsIn,
  SECRETS_WITHHELD_VARIABLE,
} from '../config/model/told-by-agent.js'
import { LISTENERS_VARIABLE, listenersOf } from '../base/process/held-listeners.js'
import { dataDirWhenUnnamed } from '../config/model/paths.js'
import { READY_FD_VARIABLE, signalReady } from '../base/process/ready-signal.js'
import { keepHeapSmall } from '../base/process/small-heap.js'
import { readVersion } from '../base/version.js'
import { proxyProgram, type ProxyEntry } from './cli/program.js'
import { runProxy } from './run.js'
import { generateLeafKey } from './tls/leaf.js'

const entry: ProxyEntry = {
  version: readVersion(import.meta.url),
  stdout: terminalOf(() => process.stdout, process.env),
  stderr: terminalOf(() => process.stderr, process.env),
  dataDir: () => dataDirOf(process.env),
  serve,
  access: async () => {
    const { apiAccess } = await import('./cli/api-access.js')
    return apiAccess({ ...process.env, DISCOBOT_DATA_DIR: entry.dataDir() })
  },
  archive: async () => {
    const { createLogger } = await import('../base/log/logger.js')
    return {
      dataDir: entry.dataDir(),
      stdin: process.stdin,
      stdout: process.stdout,
      say: entry.stderr.write,
      logger: createLogger({ level: 'warn', format: 'text', stderr: true }),
    }
  },
  onInterrupt: (interrupt) => void process.once('SIGINT', interrupt),
}

async function serve(configFile: string | undefined): Promise<undefined> {
  const leafKey = generateLeafKey()
  awaitGoAhead()
  const starting = runProxy({
    version: entry.version,
    env: process.env,
    ...(configFile === undefined ? {} : { configFile }),
    dataDir: entry.dataDir(),
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
  return undefined
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

function namesPort(said: string | undefined): { readonly namesPort?: number } {
  const [port] = portsIn(said)
  return port === undefined ? {} : { namesPort: port }
}

function dataDirOf({ DISCOBOT_DATA_DIR: dataDir }: NodeJS.ProcessEnv): string {
  return resolve(dataDir === undefined || dataDir === '' ? dataDirWhenUnnamed(existsSync) : dataDir)
}

function failed(error: unknown): void {
  // The system's words for a file that is not there or may not be read are for people; a stack is for our own faults.
  const known = error instanceof DiscobotError || isOfSystem(error)
  process.stderr.write(`discobot-proxy: ${known ? reasonOf(error) : String((error as Error).stack)}\n`)
  process.exit(1)
}

function isOfSystem(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error
}

async function main(args: readonly string[]): Promise<number | undefined> {
  const { runProgram } = await import('../base/cli/run-program.js')
  return runProgram(proxyProgram(entry), args, entry)
}

main(process.argv.slice(2)).then((code) => {
  // Served by a process that goes on; what others have written goes out before they end.
  if (code !== undefined) process.exitCode = code
}, failed)
