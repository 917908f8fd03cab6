#!/usr/bin/env node
import { reasonOf } from '../../config/errors.js'
import { createLogger } from '../../config/logger.js'
import { AGENT_API_PORT, LOOPBACK, PROXY_API_PORT } from '../../config/paths.js'
import { briefly } from './brief-memory.js'
import { gitState } from './git-state.js'
import { startAgentApi } from './server.js'
import { gatherStatus, type StatusSources } from './status.js'

/** Half of what the agent gives the service to stop. */
const CLOSE_GRACE_MS = 5_000
/** A neighbour on the same machine that needs longer is what `degraded` is for. */
const NEIGHBOUR_TIMEOUT_MS = 1_000
const GIT_TIMEOUT_MS = 3_000
const GIT_MEMORY_MS = 1_000

const logger = createLogger({ level: 'info', format: 'text' })
const { env } = process

const readWorkspace = briefly(
  () =>
    gitState({
      path: env['DISCOBOT_WORKSPACE_PATH'] ?? process.cwd(),
      env: { PATH: env['PATH'] ?? '', HOME: env['HOME'] ?? '/' },
      timeoutMs: GIT_TIMEOUT_MS,
    }),
  GIT_MEMORY_MS,
  () => performance.now(),
)
const controlSocket = env['DISCOBOT_AGENT_SOCKET']
const sources: StatusSources = {
  ...(controlSocket === undefined ? {} : { controlSocket }),
  proxyApiPort: portFrom('DISCOBOT_PROXY_API_PORT', PROXY_API_PORT),
  workspace: readWorkspace,
  timeoutMs: NEIGHBOUR_TIMEOUT_MS,
}

try {
  const api = await startAgentApi({
    host: env['DISCOBOT_AGENT_HOST'] ?? LOOPBACK,
    port: portFrom('DISCOBOT_AGENT_PORT', AGENT_API_PORT),
    routes: {
      '/health': { GET: () => Promise.resolve({ status: 'ok' }) },
      '/api/status': { GET: () => gatherStatus(sources) },
    },
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

function portFrom(name: string, fallback: number): number {
  const value = env[name]
  return value !== undefined && /^\d{1,5}$/.test(value) && Number(value) <= 65_535 ? Number(value) : fallback
}
