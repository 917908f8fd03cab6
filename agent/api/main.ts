#!/usr/bin/env node
import { userInfo } from 'node:os'
import { reasonOf } from '../../config/errors.js'
import { createLogger } from '../../config/logger.js'
import { takeHandedToken } from '../control/handed-token.js'
import { readVersion } from '../version.js'
import { routeTable } from './routes/table.js'
import { startAgentApi } from './server.js'
import { readSettings } from './settings.js'

/** Half of what the agent gives the service to stop. */
const CLOSE_GRACE_MS = 5_000

const logger = createLogger({ level: 'info', format: 'text' })
const controlToken = takeHandedToken(process.env['DISCOBOT_CONTROL_TOKEN_FD'])
const settings = readSettings({
  env: process.env,
  cwd: process.cwd(),
  controlToken,
  loginShell: userInfo().shell ?? undefined,
})
for (const problem of settings.problems) logger.warn({}, problem)

try {
  const api = await startAgentApi({
    host: settings.host,
    port: settings.port,
    ...(settings.token === undefined ? {} : { token: settings.token }),
    routes: routeTable(settings, readVersion(import.meta.url)),
    clientTimeoutMs: settings.limits.clientTimeoutMs,
    logger,
  })
  logger.info({ port: api.port }, 'agent API ready')
  const stop = (): void => void api.close(CLOSE_GRACE_MS).then(() => process.exit(0))
  process.once('SIGTERM', stop)
  process.once('SIGINT', stop)
} catch (error) {
  logger.error({ reason: reasonOf(error) }, 'agent API cannot start')
  process.exitCode = 1
}
