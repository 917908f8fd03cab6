import { join, resolve } from 'node:path'
import type { Config } from '../config/model/config.js'
import { outliveFaults } from '../base/process/entry.js'
import { DiscobotError, codeOf, reasonOf } from '../base/errors.js'
import { createLiveLogger, type LiveLogger } from '../base/log/live-logger.js'
import { readConfigText, SAYS_NOTHING } from '../config/layers/config-texts.js'
import type { ListenAt } from '../base/process/held-listeners.js'
import type { Logger } from '../base/log/logger.js'
import { knownOf, mergedOf, readDescription } from '../config/compose/known-config.js'
import type { Merged } from '../config/layers/merge.js'
import { dataPaths, DEFAULT_DATA_DIR, LOOPBACK } from '../config/model/paths.js'
import { RELEASE } from '../base/release.js'
import type { Route } from '../base/http/route.js'
import { proxyAccess } from './api/access.js'
import { archiveRoutes } from './api/archive-routes.js'
import { cacheRoutes } from './api/cache-routes.js'
import { configRoutes, configTrouble } from './api/config-routes.js'
import { explainRoutes } from './api/explain-routes.js'
import { openapiRoute } from './api/openapi-route.js'
import { ApiServer } from './api/server.js'
import { statusRoutes } from './api/status-routes.js'
import { ensureToken } from './api/token.js'
import { trafficRoutes } from './api/traffic-routes.js'
import { warmRoutes } from './api/warm-routes.js'
import type { ResponseCache } from './cache/response-cache.js'
import { openCache } from './cache/open-cache.js'
import type { Resolve } from './policy/route-guard.js'
import { OptionUnusableError } from './live/errors.js'
import { LiveConfig, type LoadedConfig, type Prepared } from './live/live-config.js'
import { Resolver } from './names/resolver.js'
import { connectionCeiling } from './entry/open-files.js'
import type { NameServer } from './names/name-server.js'
import { Observations } from './policy/observations.js'
import { resolveSecrets, SecretsError } from './credentials/secrets.js'
import { ProxyServer } from './server.js'
import { ensureAuthority, type Authority } from './tls/authority.js'
import type { LeafKey } from './tls/leaf.js'
import { createServerContexts } from './tls/contexts.js'
import { createUpstreamTrust } from './tls/upstream-trust.js'
import { Prewarmer } from './warm/prewarmer.js'

/** Less than the 5 s after which the agent kills us. */
const DRAIN_MS = 4_000

/** A port cannot be listened on: another process has it, or the address is not ours. */
class ListenError extends DiscobotError {
  override readonly code = 'LISTEN_FAILED'
}

interface RunOptions {
  /** Of this program, for the description of its API. */
  readonly version: string
  /** Absent: the built-in defaults. */
  readonly configFile?: string
  /** Where the default's folders are, instead of `/.data`. */
  readonly dataDir?: string
  /** Where secrets may come from. */
  readonly env: Readonly<Record<string, string | undefined>>
  /** Ports of Discobot's other services on this machine, which nobody may reach through us. */
  readonly ownPorts?: ReadonlySet<number>
  /** Where names are to be answered for those whom the packet filter sends to us; absent where it sends nobody. */
  readonly namesPort?: number
  /** Why no secret is loaded that does not say `trust_docker: true`; absent where all are. */
  readonly secretsWithheld?: string | undefined
  /** Where its ports are, when whoever started it has bound them. */
  readonly listenAt?: ListenAt
  /** Made before, while there was time for it. */
  readonly leafKey?: LeafKey
}

interface RunningProxy {
  /** Reads the configuration again. One that cannot be used is logged, and the old one stays. */
  reload(): Promise<void>
  /** Accepts nobody new, lets what is under way end for 4 s, and closes everything. */
  stop(): Promise<void>
}

/**
 * Starts the proxy and its API; resolves when both listen. From then on the configuration file is followed.
 *
 * @throws ConfigError, SecretsError, AuthorityError, UpstreamCaError or ListenError, each fit to be shown.
 */
export async function runProxy(options: RunOptions): Promise<RunningProxy> {
  const initial = await load(options)
  const { config } = initial.merged
  const secrets = await resolveSecrets(config.secrets, options.env, options.secretsWithheld)
  const liveLogger = createLiveLogger(config.logging)
  const { logger } = liveLogger
  const [authority, token] = await Promise.all([
    ensureCa(config, logger),
    ensureToken(dataPaths(options.dataDir ?? DEFAULT_DATA_DIR).apiToken, logger),
  ])
  const trust = createUpstreamTrust(config.tls.upstream_ca, authority.certPem, logger)
  const cache = await openCache(config.cache, { logger, now: Date.now })
  const names = new Resolver({ env: options.env })
  const proxy = new ProxyServer({
    config,
    secrets,
    contexts: createServerContexts(authority, Date.now, options.leafKey),
    trust,
    cache,
    resolve: names.resolve,
    isOwnPort: (port) =>
      port === apiPort || port === options.namesPort || options.ownPorts?.has(port) === true,
    observations: new Observations(logger, Date.now),
    ...(options.listenAt === undefined ? {} : { listenAt: options.listenAt }),
    logger,
    connectionCeiling: connectionCeiling(),
    now: () => performance.now(),
  })
  const live = new LiveConfig({
    ...(options.configFile === undefined ? {} : { file: options.configFile }),
    ...(options.dataDir === undefined ? {} : { dataDir: options.dataDir }),
    initial,
    prepare: (next) => prepare(next, { options, authority, liveLogger, proxy, cache }),
    logger,
    now: Date.now,
  })
  const prewarmer = new Prewarmer(() => {
    const authorization = proxy.ownAuthorization
    const address = { host: config.proxy.host[0] ?? LOOPBACK, port: proxy.port }
    return authorization === undefined ? address : { ...address, authorization }
  }, process.arch)
  const access = proxyAccess(() => proxy.auth, token)
  const routes: readonly Route[] = [
    ...statusRoutes({
      caCertPath: join(config.tls.cert_dir, 'ca.crt'),
      configTrouble: () => configTrouble(live),
      findings: () => proxy.findings(),
      withheld: () => proxy.withheldSecrets,
    }),
    openapiRoute(() => routes, options.version, access),
    ...trafficRoutes({
      traffic: proxy.traffic,
      cache,
      connections: () => proxy.connections,
      upstreamConnections: () => proxy.upstreamConnections,
      watch: proxy.watch,
    }),
    ...cacheRoutes({ cache, logger }),
    ...configRoutes(live),
    ...warmRoutes({ prewarmer, logger }),
    ...explainRoutes({ live, guard: proxy.guard, withheld: () => proxy.withheldSecrets }),
    ...archiveRoutes({ cache, logger }),
  ]
  const api = new ApiServer({
    // Whatever the proxy listens on: figures and control are for this machine only.
    host: LOOPBACK,
    port: config.proxy.api_port,
    ...(options.listenAt === undefined ? {} : { listenAt: options.listenAt }),
    routes,
    access,
    logger,
  })
  let apiPort = config.proxy.api_port
  // A start that fails ends; from the first client on nothing else does.
  const forgetFaults = outliveFaults(logger)
  try {
    await listen('proxy.port', config.proxy.host[0] ?? LOOPBACK, config.proxy.port, proxy.start())
    apiPort = await listen('proxy.api_port', LOOPBACK, config.proxy.api_port, api.start())
  } catch (error) {
    forgetFaults()
    await live.close()
    await Promise.all([proxy.stop(0), cache.close()])
    names.close()
    throw error
  }
  const nameServer =
    options.namesPort === undefined
      ? undefined
      : await answerNames(options.namesPort, proxy, names.resolve, logger)
  logger.info({ port: proxy.port, api_port: apiPort, host: config.proxy.host.join(',') }, 'proxy ready')

  return {
    reload: () => live.reload(),
    async stop() {
      logger.info({}, 'stopping')
      nameServer?.stop()
      await Promise.all([live.close(), prewarmer.close()])
      await proxy.stop(DRAIN_MS)
      await Promise.all([api.stop(), cache.close()])
      names.close()
      forgetFaults()
      logger.info({}, 'stopped')
    },
  }
}

/** Its modules are read only where it is needed. */
async function answerNames(
  port: number,
  proxy: ProxyServer,
  resolve: Resolve,
  logger: Logger,
): Promise<NameServer> {
  const [{ NameServer }, { NameAnswers }] = await Promise.all([
    import('./names/name-server.js'),
    import('./names/answers.js'),
  ])
  const answers = new NameAnswers({ judge: (host) => proxy.judgeName(host), resolve })
  const server = new NameServer({ port, answers, logger })
  await server.start()
  return server
}

async function load({ configFile, dataDir = DEFAULT_DATA_DIR }: RunOptions): Promise<LoadedConfig> {
  const text = configFile === undefined ? SAYS_NOTHING : await readConfigText(configFile)
  const file = configFile ?? 'config.yaml'
  return { text, merged: (await known(text, file, dataDir)) ?? (await loaded(text, file, dataDir)) }
}

/** Only the agent writes what is known, so whoever names a file of their own has none of it. */
async function known(text: string, file: string, dataDir: string): Promise<Merged | undefined> {
  if (RELEASE === undefined) return undefined
  const description = await readDescription(dataPaths(resolve(dataDir)).knownConfig)
  const circumstances = { release: RELEASE, file: resolve(file), dataDir: resolve(dataDir) }
  const found = knownOf(text, description, circumstances)
  return found === undefined ? undefined : mergedOf(found)
}

async function loaded(text: string, file: string, dataDir: string): Promise<Merged> {
  const { loadConfigText } = await import('../config/layers/load.js')
  return loadConfigText(text, file, { dataDir })
}

interface Running {
  readonly options: RunOptions
  readonly authority: Authority
  readonly liveLogger: LiveLogger
  readonly proxy: ProxyServer
  readonly cache: ResponseCache
}

/** @throws OptionUnusableError */
async function prepare(
  config: Config,
  { options, authority, liveLogger, proxy, cache }: Running,
): Promise<Prepared> {
  const { env, secretsWithheld } = options
  const secrets = await resolveSecrets(config.secrets, env, secretsWithheld).catch((error: unknown) => {
    if (!(error instanceof SecretsError)) throw error
    throw new OptionUnusableError(`secrets.${error.first}`, error.message, error)
  })
  const { upstream_ca } = config.tls
  const trust = usable('tls.upstream_ca', () =>
    createUpstreamTrust(upstream_ca, authority.certPem, liveLogger.logger),
  )
  const log = usable('logging.file', () => liveLogger.prepare(config.logging))
  return {
    discard: () => log.discard(),
    async commit() {
      proxy.reconfigure({ config, secrets, trust })
      log.commit()
      await cache.reconfigure(config.cache)
    },
  }
}

function usable<T>(option: string, open: () => T): T {
  try {
    return open()
  } catch (error) {
    throw new OptionUnusableError(option, reasonOf(error), error)
  }
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
