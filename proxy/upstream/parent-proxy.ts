import type { UpstreamProxySection } from '../../config/model/config.js'
import { compileHostPatterns } from '../../base/net/host-pattern.js'
import { compileIpSet, parseIpBlock } from '../../base/net/ip-set.js'
import { parseTemplate } from '../../config/model/secret-template.js'
import { parseUpstreamProxyUrl } from '../../config/model/upstream-proxy-url.js'
import type { Credentials } from '../credentials/auth.js'
import type { Secrets } from '../credentials/secrets.js'
import type { Target } from '../../base/net/target.js'

/** `upstream_proxy`, compiled. */
export interface ParentProxy {
  readonly protocol: 'http' | 'socks5'
  readonly host: string
  readonly port: number
  /** As it may be shown: without credentials. */
  readonly label: string
  /** It is told names, and resolves them. */
  readonly resolvesNames: boolean
  /** Made anew for each use, so that no string with a secret in it is kept. As latin1 text of their bytes. */
  credentials(): Credentials | undefined
  /** Whether `target` is reached without it, as far as its name or literal address tells. */
  bypasses(target: Target): boolean
  bypassesAddress(address: string): boolean
}

/** Undefined where there is none. @throws TypeError for what the loader would have refused. */
export function compileParentProxy(
  { url, no_proxy, resolve }: UpstreamProxySection,
  secrets: Secrets,
): ParentProxy | undefined {
  if (url === '') return undefined
  const parsed = parseUpstreamProxyUrl(url)
  if (typeof parsed === 'string') throw new TypeError(`cannot use upstream_proxy.url: it ${parsed}`)
  const { scheme, host, port, credentials } = parsed
  const isBlock = (entry: string): boolean => typeof parseIpBlock(entry) === 'object'
  const addresses = compileIpSet(no_proxy.filter(isBlock))
  const names = compileHostPatterns(
    no_proxy.filter((entry) => !isBlock(entry)).map((entry) => [entry, entry] as const),
  )
  const filled = (template: string): string => {
    const parts = parseTemplate(template)
    if (typeof parts === 'string') throw new TypeError(`cannot use upstream_proxy.url: it ${parts}`)
    return parts
      .map((part) =>
        part.kind === 'text' ? Buffer.from(part.text).toString('latin1') : secrets.reveal(part.name, host),
      )
      .join('')
  }
  return {
    protocol: scheme === 'http' ? 'http' : 'socks5',
    host,
    port,
    label: `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`,
    resolvesNames: resolve === 'remote' || scheme === 'socks5h',
    credentials: () =>
      credentials && { user: filled(credentials.user), password: filled(credentials.password) },
    bypasses: (target) => names.matchesAny(target.host) || (target.isAddress && addresses.has(target.host)),
    bypassesAddress: (address) => addresses.has(address),
  }
}
