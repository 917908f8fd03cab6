#!/usr/bin/env node
import { userInfo } from 'node:os'
import { terminalOf, type Outputs } from '../../base/cli/terminal.js'
import { outliveFaults } from '../../base/process/entry.js'
import { reasonOf } from '../../base/errors.js'
import { HANDOVER_FD_VARIABLE, takeHandover } from '../../base/process/handover.js'
import { LISTENERS_VARIABLE, listenersOf } from '../../base/process/held-listeners.js'
import { createLogger } from '../../base/log/logger.js'
import { READY_FD_VARIABLE, signalReady } from '../../base/process/ready-signal.js'
import { readVersion } from '../../base/version.js'
import { apiProgram } from './program.js'
import { routeTable } from './routes/table.js'
import { startAgentApi } from './server.js'
import { readSettings } from './settings/settings.js'

/** Half of what the agent gives the service to stop. */
const CLOSE_GRACE_MS = 5_000

async function serve(): Promise<undefined> {
  const logger = createLogger({ level: 'info', format: 'text' })
  // Waits until all that we need is ready.
  const given = takeHandover(process.env[HANDOVER_FD_VARIABLE])
  const settings = readSettings({
    env: { ...process.env, ...given?.env },
    cwd: process.cwd(),
    controlToken: given?.token,
    loginShell: userInfo().shell ?? undefined,
  })
  for (const problem of settings.problems) logger.warn({}, problem)

  try {
    const api = await startAgentApi({
      host: settings.host,
      port: settings.port,
      listenAt: listenersOf(process.env[LISTENERS_VARIABLE]),
      ...(settings.token === undefined ? {} : { token: settings.token }),
      routes: routeTable(settings, readVersion(import.meta.url), logger),
      clientTimeoutMs: settings.limits.clientTimeoutMs,
      logger,
    })
    logger.info({ port: api.port }, 'agent API ready')
    signalReady(process.env[READY_FD_VARIABLE])
    outliveFaults(logger)
    const stop = (): void => {
      api.close(CLOSE_GRACE_MS).then(() => process.exit(0), failed)
    }
    process.once('SIGTERM', stop)
    process.once('SIGINT', stop)
  } catch (error) {
    logger.error({ reason: reasonOf(error) }, 'agent API cannot start')
    process.exitCode = 1
  }
  return undefined
}

function failed(error: unknown): void {
  process.stderr.write(`discobot-agent-api: ${reasonOf(error)}\n`)
  process.exit(1)
}

const outputs: Outputs = {
  stdout: terminalOf(() => process.stdout, process.env),
  stderr: terminalOf(() => process.stderr, process.env),
}
async function main(args: readonly string[]): Promise<number | undefined> {
  // A container starts it without arguments: there is nothing to parse, and reading the table costs milliseconds.
  if (args.length === 0) return serve()
  const { runProgram } = await import('../../base/cli/run-program.js')
  return runProgram(apiProgram({ version: readVersion(import.meta.url), serve, ...outputs }), args, outputs)
}

main(process.argv.slice(2)).then((code) => {
  if (code !== undefined) process.exitCode = code
}, failed)
