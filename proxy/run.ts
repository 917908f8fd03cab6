import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { Config } from '../config/config.js'
import { DiscobotError, codeOf, reasonOf } from '../config/errors.js'
import { loadConfigFile, loadDefaultConfig } from '../config/load.js'
import { createLogger, type Logger } from '../config/logger.js'
import { LOOPBACK } from '../config/paths.js'
import { ApiServer } from './api/server.js'
import type { ResponseCache } from './cache/contract.js'
import { openCache } from './cache/open-cache.js'
import { systemResolve } from './dial.js'
import { Observations } from './observations.js'
import { ProxyServer } from './server.js'
import { ensureAuthority, type Authority } from './tls/authority.js'
import { createServerContexts } from './tls/contexts.js'
import { createUpstreamTrust } from './tls/upstream-trust.js'

/** Less than the 5 s after which the agent kills us. */
const DRAIN_MS = 4_000

/** A port cannot be listened on: another process has it, or the address is not ours. */
export class ListenError extends DiscobotError {
  override readonly code = 'LISTEN_FAILED'
}

export interface RunOptions {
  /** Absent: the built-in defaults. */
  readonly configFile?: string
  /** Where the default's folders are, instead of `/.data`. */
  readonly dataDir?: string
}

export interface RunningProxy {
  /** Reads the configuration again. One that cannot be used is logged, and the old one stays. */
  reload(): Promise<void>
  /** Accepts nobody new, lets what is under way end for 4 s, and closes everything. */
  stop(): Promise<void>
}

/**
 * Starts the proxy and its API; resolves when both listen.
 *
 * @throws ConfigError, AuthorityError, UpstreamCaError or ListenError, each fit to be shown.
 */
export async function runProxy(options: RunOptions): Promise<RunningProxy> {
  let config = await load(options)
  const logger = createLogger(config.logging)
  const authority = await ensureCa(config, logger)
  const trust = createUpstreamTrust(config.tls.upstream_ca, authority.certPem, logger)
  const cache = await openCache(config.cache, { logger, now: Date.now })
  const proxy = new ProxyServer({
    config,
    contexts: createServerContexts(authority, Date.now),
    trust,
    cache,
    resolve: systemResolve,
    isOwnPort: (port) => port === apiPort,
    observations: new Observations(logger, Date.now),
    logger,
    now: () => performance.now(),
  })
  const api = new ApiServer({
    // Whatever the proxy listens on: figures and control are for this machine only.
    host: LOOPBACK,
    port: config.proxy.api_port,
    caCertPath: join(config.tls.cert_dir, 'ca.crt'),
    cache: () => cache,
    logger,
  })
  let apiPort = config.proxy.api_port
  try {
    await listen('proxy.port', config.proxy.host[0] ?? LOOPBACK, config.proxy.port, proxy.start())
    apiPort = await listen('proxy.api_port', LOOPBACK, config.proxy.api_port, api.start())
  } catch (error) {
    await Promise.all([proxy.stop(0), cache.close()])
    throw error
  }
  logger.info({ port: proxy.port, api_port: apiPort, host: config.proxy.host.join(',') }, 'proxy ready')

  return {
    async reload() {
      try {
        const next = await load(options)
        const nextTrust = createUpstreamTrust(next.tls.upstream_ca, authority.certPem, logger)
        const fixed = needsRestart(config, next)
        if (fixed.length > 0)
          logger.warn({ keys: fixed.join(',') }, 'these keys apply at the next start only')
        proxy.reconfigure({ config: next, trust: nextTrust, cache })
        config = next
        logger.info({}, 'configuration reloaded')
      } catch (error) {
        logger.error({ problem: reasonOf(error) }, 'cannot reload the configuration; the old one stays')
      }
    },
    async stop() {
      logger.info({}, 'stopping')
      await proxy.stop(DRAIN_MS)
      await closeAll(api, cache)
      logger.info({}, 'stopped')
    },
  }
}

async function load({ configFile, dataDir }: RunOptions): Promise<Config> {
  const where = dataDir === undefined ? {} : { dataDir }
  const merged = configFile === undefined ? loadDefaultConfig(where) : await loadConfigFile(configFile, where)
  return merged.config
}

async function ensureCa(config: Config, logger: Logger): Promise<Authority> {
  const certPath = join(config.tls.cert_dir, 'ca.crt')
  const ca = await ensureAuthority({
    certPath,
    keyPath: join(config.tls.cert_dir, 'ca.key'),
    now: Date.now,
  })
  if (ca.created)
    logger.warn({ certificate: certPath, reason: ca.reason }, 'made a new CA; clients must trust it')
  return ca
}

async function listen<T>(option: string, host: string, port: number, started: Promise<T>): Promise<T> {
  try {
    return await started
  } catch (error) {
    const why =
      codeOf(error) === 'EADDRINUSE'
        ? `another process has it; stop that one or set ${option} to a free port`
        : reasonOf(error)
    throw new ListenError(`cannot listen on ${host}:${port}: ${why}`, { cause: error })
  }
}

/** What is bound to sockets, files and the index that exist already. */
function needsRestart(now: Config, next: Config): readonly string[] {
  const keys: readonly [string, (config: Config) => unknown][] = [
    ['proxy', (config) => config.proxy],
    ['tls.cert_dir', (config) => config.tls.cert_dir],
    ['cache', (config) => config.cache],
    ['logging', (config) => config.logging],
  ]
  return keys.filter(([, part]) => !isDeepStrictEqual(part(now), part(next))).map(([name]) => name)
}

async function closeAll(api: ApiServer, cache: ResponseCache): Promise<void> {
  await Promise.all([api.stop(), cache.close()])
}
