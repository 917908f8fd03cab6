import { shape } from '../../base/http/json-schema.js'
import { sendJson } from '../../base/http/problem.js'
import type { Route } from '../../base/http/route.js'
import type { WithheldSecrets } from '../credentials/secrets.js'

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
export function statusRoutes({
  caCertPath,
  configTrouble,
  findings,
  withheld,
}: StatusDeps): readonly Route[] {
  return [
    {
      method: 'GET',
      path: '/health',
      access: 'open',
      summary: 'Whether the proxy is well',
      description:
        'With a broken file the proxy goes on with the old one, which is not what the operator wants.',
      answers: {
        200: {
          description: 'it answers; `status` says how it is',
          content: { 'application/json': shape('Health') },
        },
      },
      handle: async ({ response }) => {
        const config = configTrouble()
        const found = findings()
        const secrets = withheld()
        sendJson(response, {
          status: secrets === undefined && config === undefined ? 'ok' : 'degraded',
          ca_cert: caCertPath,
          ...(config === undefined ? {} : { config }),
          ...(secrets === undefined ? {} : { secrets: { withheld: secrets.names, reason: secrets.reason } }),
          ...(found.length === 0 ? {} : { findings: found }),
        })
      },
    },
  ]
}
