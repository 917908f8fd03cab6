import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { RequestListener } from 'node:http'
import { createSecureContext } from 'node:tls'
import type { Test } from 'tap'
import { createLeafIssuer } from '../../tls/leaf.js'
import { startHttpOrigin, type TestProxy } from '../../../test/lab/harness.js'

/** How a client may come: each form of asking must be judged alike. */
export const WAYS = ['plain', 'tunnel', 'TLS in a tunnel', 'SOCKS', 'TLS in SOCKS'] as const
type Way = (typeof WAYS)[number]

interface Site {
  readonly httpPort: number
  readonly httpsPort: number
}

interface Asking {
  readonly method?: string
  readonly host: string
  readonly path?: string
}

/** What the client was told. Refused before the tunnel is open, it is 403 or 502 as it would be inside. */
interface Told {
  readonly status: number
  readonly text: string
}

/** Origins for every name, with and without TLS. */
export async function startSite(t: Test, proxy: TestProxy, listener: RequestListener): Promise<Site> {
  const { port: httpPort } = await startHttpOrigin(t, listener)
  const issuer = createLeafIssuer(proxy.originAuthority, Date.now)
  const contextOf = (name: string) => createSecureContext({ key: issuer.keyPem, cert: issuer.issue(name) })
  const secure = createServer(
    {
      key: issuer.keyPem,
      cert: issuer.issue('127.0.0.1'),
      SNICallback: (name, callback) => callback(null, contextOf(name)),
    },
    listener,
  )
  await new Promise<void>((resolve) => secure.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    secure.closeAllConnections()
    secure.close()
  })
  return { httpPort, httpsPort: (secure.address() as AddressInfo).port }
}

/** SOCKS5 reply codes (RFC 1928, 6) → the status that says the same in HTTP. */
const STATUS_OF_REPLY: Readonly<Record<string, number>> = { 2: 403, 4: 502 }

export async function ask(proxy: TestProxy, site: Site, way: Way, asking: Asking): Promise<Told> {
  const { method = 'GET', host, path = '/' } = asking
  const secure = way.startsWith('TLS')
  const url = `${secure ? 'https' : 'http'}://${host}:${secure ? site.httpsPort : site.httpPort}${path}`
  const { status, body, stderr } = await proxy.curl(
    // A wrapped address is answered with the certificate of the address it is.
    '-k',
    '--path-as-is',
    '--globoff',
    ...(method === 'HEAD' ? ['--head'] : ['-X', method]),
    ...(way === 'tunnel' ? ['-p'] : []),
    '-x',
    way.endsWith('SOCKS') ? 'socks5h://$PROXY' : 'http://$PROXY',
    url,
  )
  const reply = /SOCKS5 connection to .*\((\d+)\)/.exec(stderr)?.[1]
  const tunnelReply = /CONNECT tunnel failed, response (\d+)/.exec(stderr)?.[1]
  const early = reply === undefined ? Number(tunnelReply ?? 0) : STATUS_OF_REPLY[reply]
  return {
    status: status === 0 || tunnelReply !== undefined ? (early ?? 0) : status,
    text: `${body}${stderr}`,
  }
}
