import type { Logger } from '../../config/logger.js'
import type { ResponseCache } from '../cache/contract.js'
import type { Routes } from './routes.js'

export interface StatusDeps {
  /** Path of the CA certificate clients must trust. */
  readonly caCertPath: string
  readonly cache: ResponseCache
  /** What is wrong with the configuration file; undefined when nothing is. */
  readonly configTrouble: () => object | undefined
  /** What the operator should look at though the proxy is well. */
  readonly findings: () => readonly string[]
  readonly logger: Logger
}

/** Health, and the cache's figures. */
export function statusRoutes({ caCertPath, cache, configTrouble, findings, logger }: StatusDeps): Routes {
  return {
    '/health': {
      // Also with a broken file the proxy is well: it goes on with the old one.
      GET: () => {
        const config = configTrouble()
        const found = findings()
        return {
          status: 200,
          body: {
            status: 'ok',
            ca_cert: caCertPath,
            ...(config === undefined ? {} : { config }),
            ...(found.length === 0 ? {} : { findings: found }),
          },
        }
      },
    },
    '/api/cache/stats': {
      GET: () => ({ status: 200, body: cache.stats() }),
    },
    '/api/cache': {
      DELETE: async () => {
        const removed = await cache.clear()
        logger.info(removed, 'cache cleared')
        return { status: 200, body: { status: 'ok', ...removed } }
      },
    },
  }
}
