import type { WithheldSecrets } from '../secrets.js'
import type { Routes } from './routes.js'

interface StatusDeps {
  /** Path of the CA certificate clients must trust. */
  readonly caCertPath: string
  /** What is wrong with the configuration file; undefined when nothing is. */
  readonly configTrouble: () => object | undefined
  /** What the operator should look at though the proxy is well. */
  readonly findings: () => readonly string[]
  /** Secrets that are not loaded, and why; undefined where all are. */
  readonly withheld: () => WithheldSecrets | undefined
}

/** Health. */
export function statusRoutes({ caCertPath, configTrouble, findings, withheld }: StatusDeps): Routes {
  return {
    '/health': {
      // With a broken file the proxy goes on with the old one, which is not what the operator wants.
      GET: () => {
        const config = configTrouble()
        const found = findings()
        const secrets = withheld()
        return {
          status: 200,
          body: {
            status: secrets === undefined && config === undefined ? 'ok' : 'degraded',
            ca_cert: caCertPath,
            ...(config === undefined ? {} : { config }),
            ...(secrets === undefined
              ? {}
              : { secrets: { withheld: secrets.names, reason: secrets.reason } }),
            ...(found.length === 0 ? {} : { findings: found }),
          },
        }
      },
    },
  }
}
