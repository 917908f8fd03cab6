import type { Routes } from './routes.js'

export interface StatusDeps {
  /** Path of the CA certificate clients must trust. */
  readonly caCertPath: string
  /** What is wrong with the configuration file; undefined when nothing is. */
  readonly configTrouble: () => object | undefined
  /** What the operator should look at though the proxy is well. */
  readonly findings: () => readonly string[]
}

/** Health. */
export function statusRoutes({ caCertPath, configTrouble, findings }: StatusDeps): Routes {
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
  }
}
