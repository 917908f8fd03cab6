import { LOOPBACK } from '../../config/model/paths.js'

export type Environment = Readonly<Record<string, string>>

/** Whom an environment is for. */
export interface Account {
  readonly name: string
  readonly home: string
}

/** What programs must know to go through the proxy and to trust it. */
export interface ProxyAccess {
  /** An address, never a name: `localhost` may resolve to where the proxy does not listen. */
  readonly host: string
  readonly port: number
  /** Our certificate alone, readable by everybody. */
  readonly caFile: string
  /** The system's certificates and ours. */
  readonly bundleFile: string
  /** What a Node without NODE_USE_ENV_PROXY loads instead; readable by everybody. */
  readonly fetchPreload?: string
}

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/**
 * Replace the system's list in the programs that read them, so they get the full bundle: with our certificate
 * alone a host whose TLS is tunnelled would no longer be trusted.
 */
const BUNDLE_VARIABLES = [
  'SSL_CERT_FILE',
  'REQUESTS_CA_BUNDLE',
  'CURL_CA_BUNDLE',
  'GIT_SSL_CAINFO',
  'PIP_CERT',
  'AWS_CA_BUNDLE',
  'CARGO_HTTP_CAINFO',
  'DENO_CERT',
  // gRPC's C core (Python, Ruby, PHP, C++): its own list unless this names another; no other variable counts.
  'GRPC_DEFAULT_SSL_ROOTS_FILE_PATH',
  // nix and what it builds.
  'NIX_SSL_CERT_FILE',
  // Perl's LWP and HTTP::Tiny with IO::Socket::SSL.
  'PERL_LWP_SSL_CA_FILE',
  // httplib2 of Python.
  'HTTPLIB2_CA_CERTS',
  // gcloud, which takes no other.
  'CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE',
  // Hex and Mix of Elixir.
  'HEX_CACERTS_PATH',
  // Julia's package manager.
  'JULIA_SSL_CA_ROOTS_PATH',
  // conda, which would take the list of its own Python.
  'CONDA_SSL_VERIFY',
] as const

/** What every process needs; `inherited` wins for PATH, LANG and TERM only. */
export function baseEnvironment(account: Account, inherited: Environment): Environment {
  return {
    PATH: inherited['PATH'] ?? DEFAULT_PATH,
    HOME: account.home,
    USER: account.name,
    LOGNAME: account.name,
    LANG: inherited['LANG'] ?? 'C.UTF-8',
    ...(inherited['TERM'] === undefined ? {} : { TERM: inherited['TERM'] }),
  }
}

/** The variables of design.md, for services and login shells alike. Values are the same for everybody. */
export function proxyEnvironment(access: ProxyAccess): Environment {
  const host = access.host.includes(':') ? `[${access.host}]` : access.host
  const url = `http://${host}:${access.port}`
  const routes: Record<string, string> = {
    HTTP_PROXY: url,
    HTTPS_PROXY: url,
    ALL_PROXY: url,
    NO_PROXY: `localhost,${LOOPBACK},::1`,
  }
  for (const [name, value] of Object.entries(routes)) routes[name.toLowerCase()] = value
  return {
    ...routes,
    NODE_EXTRA_CA_CERTS: access.caFile,
    ...Object.fromEntries(BUNDLE_VARIABLES.map((name) => [name, access.bundleFile])),
    // Without it Node's own fetch ignores the variables above.
    NODE_USE_ENV_PROXY: '1',
    ...(access.fetchPreload === undefined
      ? {}
      : { NODE_OPTIONS: `--require=${JSON.stringify(access.fetchPreload)}` }),
  }
}

/**
 * The whole environment of a service. `inherited` must already be free of our secrets; whatever it says of
 * the account or the proxy is overruled.
 */
export function serviceEnvironment(parts: {
  readonly account: Account
  readonly inherited: Environment
  readonly proxy?: ProxyAccess
  readonly extra?: Environment
}): Environment {
  const proxy = parts.proxy === undefined ? {} : proxyEnvironment(parts.proxy)
  const nodeOptions = [parts.inherited['NODE_OPTIONS'], proxy['NODE_OPTIONS']].filter(
    (one) => one !== undefined,
  )
  return {
    ...parts.inherited,
    ...baseEnvironment(parts.account, parts.inherited),
    ...proxy,
    ...(nodeOptions.length === 0 ? {} : { NODE_OPTIONS: nodeOptions.join(' ') }),
    ...parts.extra,
  }
}

/** `export NAME='value'` lines that any POSIX shell may read. */
export function shellExports(environment: Environment): string {
  return Object.entries(environment)
    .map(([name, value]) => `export ${name}='${value.replaceAll("'", String.raw`'\''`)}'\n`)
    .join('')
}
