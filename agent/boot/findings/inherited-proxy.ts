import { isLoopbackHost } from '../../../base/net/loopback.js'
import type { Composed } from '../../../config/compose.js'
import type { Config } from '../../../config/model/config.js'
import { canonicalHost } from '../../../base/net/host-name.js'
import { parseUpstreamProxyUrl } from '../../../config/model/upstream-proxy-url.js'
import type { Environment } from '../../settings/environment.js'

/** A proxy for HTTPS says most of what is the way out. */
const VARIABLES = ['HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'all_proxy', 'HTTP_PROXY', 'http_proxy']
const NO_PROXY = ['NO_PROXY', 'no_proxy']

interface InheritedProxy {
  readonly config: Config
  /** What was decided, without name and password. */
  readonly told: string
}

/** The values of the variables that {@link inheritedProxy} goes by. */
export function proxyVariables(inherited: Environment): readonly string[] {
  return [...VARIABLES, ...NO_PROXY].map((name) => inherited[name] ?? '')
}

/**
 * The container's own proxy variables are the way out on many hosts, so they are used as `upstream_proxy` unless a file
 * says anything of it, `url: ''` included. Undefined where no variable is set, or a file decides.
 */
export function inheritedProxy(
  { config, sources }: Pick<Composed, 'config' | 'sources'>,
  inherited: Environment,
): InheritedProxy | undefined {
  const variable = VARIABLES.find((name) => (inherited[name] ?? '') !== '')
  if (variable === undefined) return undefined
  if (sources['upstream_proxy.url']?.some(({ layer }) => layer !== 'default') === true) return undefined
  const url = inherited[variable] ?? ''
  const unused = (why: string): InheritedProxy => ({
    config,
    told: `${variable} is not used: ${why}; set upstream_proxy.url in the file of DISCOBOT_PROXY_CONFIG`,
  })
  // In a configuration it would stand for a secret.
  const parsed = url.includes('$') ? 'holds a "$"' : parseUpstreamProxyUrl(url)
  if (typeof parsed === 'string') return unused(`its value ${parsed}`)
  const { scheme, host, port } = parsed
  if (isLoopbackHost(host) && port === config.proxy.port) return undefined
  const passedBy = NO_PROXY.map((name) => inherited[name] ?? '').find((value) => value !== '') ?? ''
  const entries = passedBy.split(/[\s,]+/).filter((entry) => entry !== '')
  if (entries.includes('*')) return undefined
  const no_proxy = [...new Set([...config.upstream_proxy.no_proxy, ...entries.flatMap(patternsOf)])]
  const shown = `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`
  return {
    config: { ...config, upstream_proxy: { ...config.upstream_proxy, url, no_proxy } },
    told: `upstream_proxy is ${shown}, by ${variable}`,
  }
}

/** The same of a configuration that an earlier start has made: it is told at every start. */
export function toldAgain({ upstream_proxy: { url } }: Config, inherited: Environment): string | undefined {
  const variable = url === '' ? undefined : VARIABLES.find((name) => inherited[name] === url)
  return variable === undefined ? undefined : `upstream_proxy is that of ${variable}`
}

/** As curl reads them: a name stands for itself and for all below it. What else there is, such as a port, is left out. */
function patternsOf(entry: string): readonly string[] {
  if (/^\d{1,3}(\.\d{1,3}){3}(\/\d{1,2})?$/.test(entry)) return [entry]
  const name = canonicalHost(entry.replace(/^\*?\./, ''))
  if (name === undefined || !/^[a-z0-9.-]+$/.test(name)) return []
  return [name, `*.${name}`]
}
