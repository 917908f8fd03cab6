import type { LogFormat, LogLevel } from '../../base/log/contract.js'

/**
 * The proxy's configuration after validation: every key present, sizes in bytes, frozen.
 * Key names are those of the YAML file so that an error can always quote what the operator wrote.
 */
export interface Config {
  readonly proxy: ProxySection
  readonly tls: TlsSection
  readonly cache: CacheSection
  /** Host pattern → rule. The most specific pattern that matches a host applies, alone. */
  readonly headers: Readonly<Record<string, HeaderRule>>
  /** Name → where it comes from and where it may go. */
  readonly secrets: Readonly<Record<string, SecretSource>>
  readonly allowlist: AllowlistSection
  readonly blocklist: BlocklistSection
  /** In any order: a rule that blocks counts before all that allow. */
  readonly rules: readonly AccessRule[]
  readonly policy: PolicySection
  readonly egress: EgressSection
  readonly upstream_proxy: UpstreamProxySection
  readonly timeouts: TimeoutsSection
  readonly limits: LimitsSection
  readonly logging: LoggingSection
}

interface ProxySection {
  /** 0–65535; 0 asks the kernel for a free port. */
  readonly port: number
  /** 0–65535; 0 asks the kernel for a free port. */
  readonly api_port: number
  /** An IP address to listen on, or several; those after the first may appear later (a Docker bridge). */
  readonly host: readonly string[]
  readonly auth: ProxyAuthSection
}

/** Who may use the proxy. Both texts may refer to secrets as `${NAME}`; both are empty where nobody is asked. */
export interface ProxyAuthSection {
  readonly user: string
  readonly password: string
  /** Whether clients of this machine's loopback addresses are asked too. */
  readonly loopback: 'required' | 'exempt'
}

interface TlsSection {
  readonly cert_dir: string
  /** Host patterns whose TLS is tunnelled untouched. */
  readonly passthrough: readonly string[]
  /** PEM files trusted for upstream servers, besides the system's store. */
  readonly upstream_ca: readonly string[]
}

export interface CacheSection {
  readonly enabled: boolean
  readonly dir: string
  /** Bytes. */
  readonly max_size: number
  /** Regular expressions over the URL's path. */
  readonly patterns: readonly string[]
  /** In the order in which they are asked, after `patterns`; each with a `match`. */
  readonly rules: readonly CacheRule[]
  /** Milliseconds after which an entry is asked for again, 0 meaning never; or as upstream says (RFC 9111). */
  readonly ttl: number | 'upstream'
  /** Milliseconds past its `ttl` for which an entry is served when upstream fails. */
  readonly stale_if_error: number
  /** Serve what is stored and ask upstream for nothing. */
  readonly offline: boolean
  /** Whether an entry that took credentials is served to requests without asking upstream about theirs. */
  readonly authorization: 'trust' | 'revalidate'
  /** When a fill that nobody reads any more goes on: always, past `fill_share`, or not. */
  readonly fill: 'always' | 'share' | 'readers'
  /** Percent. */
  readonly fill_share: number
  /** Bytes of the disk that are left free. */
  readonly min_free: number
  /** Bytes of small entries held in memory. */
  readonly memory: number
  /** Whose entries are not those that everybody shares. */
  readonly apart: ApartSection
}

/** What is kept apart: by one workspace's rules, or of what one workspace's headers ask for. */
export interface ApartSection {
  /** Tells the entries of one from those of another; part of their keys. */
  readonly by: string
  /** Names of rules; `patterns` for those of the section. */
  readonly rules: readonly string[]
  /** Host patterns. */
  readonly hosts: readonly string[]
}

/** What is kept of other things than `patterns` name. What is absent is as the section says. */
export interface CacheRule {
  readonly name: string
  readonly match?: {
    /** Host patterns; absent: every host. */
    readonly host?: readonly string[]
    /** Regular expression over the URL's path. */
    readonly path: string
  }
  readonly ttl?: CacheSection['ttl']
  /** Requests that differ only in their query share an entry. */
  readonly ignore_query?: boolean
  /** The path holds a digest of this kind, which the body must have. */
  readonly verify?: 'sha256' | 'sha512'
  /** Bytes. */
  readonly max_object?: number
  /**
   * What its bodies are, so that nothing else is kept in their place: packages, which are binary; files, which are no
   * web pages; or anything.
   */
  readonly expect?: 'package' | 'file' | 'anything'
  /** What a request with `Cache-Control: no-cache` gets: upstream is asked, or the entry is served all the same. */
  readonly no_cache?: 'ask' | 'serve'
  /** Request headers that are sent along, though entries are not told apart by them. */
  readonly pass_headers?: readonly string[]
  readonly enabled?: boolean
}

export interface HeaderRule {
  /** Header → value that replaces whatever the client sent. */
  readonly set: Readonly<Record<string, string>>
  /** Header → value joined to the client's with ", ". */
  readonly append: Readonly<Record<string, string>>
  /** All must hold for the rule to apply; none means always. */
  readonly conditions: readonly HeaderCondition[]
  /** Applied to plain HTTP too, where everybody on the way can read it. */
  readonly insecure: boolean
}

/** A value that is in no configuration. Exactly one of `env` and `file` is there. */
export interface SecretSource {
  /** Host patterns it may go to. */
  readonly hosts: readonly string[]
  /** Variable of the proxy's environment. */
  readonly env?: string
  /** Absolute path; the trailing line break is not part of the secret. */
  readonly file?: string
  /** It is loaded though the workspace's user can read it, having a Docker engine with root's rights. */
  readonly trust_docker?: boolean
  /** What a client may send in its place. */
  readonly placeholder?: string
  /** In which headers the placeholder is looked for; there when it is. */
  readonly placeholder_headers?: readonly string[]
}

interface HeaderCondition {
  readonly header: string
  readonly equals: string
}

export interface AllowlistSection {
  readonly enabled: boolean
  readonly domains: readonly string[]
  /** Addresses or CIDR blocks. */
  readonly ips: readonly string[]
}

export interface BlocklistSection {
  readonly domains: readonly string[]
  /** Addresses or CIDR blocks. */
  readonly ips: readonly string[]
}

/** Matches when everything it names does; what it does not name may be anything. It names something. */
export interface AccessRule {
  readonly name?: string
  readonly action: 'allow' | 'block'
  /** Host patterns. */
  readonly hosts?: readonly string[]
  /** In capitals; GET stands for HEAD too. */
  readonly methods?: readonly string[]
  /** `/v2/*` or `^/v2/[a-z]+$`; see `rule-path.ts`. */
  readonly paths?: readonly string[]
  readonly ports?: readonly number[]
}

interface PolicySection {
  /** `observe` lets through, and records, what lists and rules would block. */
  readonly mode: 'enforce' | 'observe'
}

/** Where connections may lead, whatever the lists say of the host. Never merely observed. */
export interface EgressSection {
  /** Addresses that the public internet does not route. */
  readonly private: 'allow' | 'deny'
  /** Ports that CONNECT and SOCKS may name; empty means any. */
  readonly connect_ports: readonly number[]
  /** Addresses or CIDR blocks that may be dialled; empty means any. */
  readonly allow: readonly string[]
  /** Addresses or CIDR blocks that may not be dialled. */
  readonly block: readonly string[]
  /** Of this machine, that clients from elsewhere may reach; empty means none. */
  readonly own_ports: readonly number[]
  /** Whether a packet filter of the agent's lets out nobody but the proxy; the proxy itself does not look at it. */
  readonly enforce: 'auto' | boolean
  /** Where that is in force: whether the proxy answers whoever looks up a name. */
  readonly dns: 'resolve' | 'refuse'
}

/** The operator's own proxy. */
export interface UpstreamProxySection {
  /** See `upstream-proxy-url.ts`; its credentials may refer to secrets. Empty for none. */
  readonly url: string
  /** Host patterns, addresses and CIDR blocks that are reached without it. */
  readonly no_proxy: readonly string[]
  /** `local`: names are resolved and judged here, and the upstream proxy is told addresses. */
  readonly resolve: 'local' | 'remote'
}

/** Milliseconds, 100 to 24 days. */
export interface TimeoutsSection {
  /** For a connection to upstream, TLS included. */
  readonly connect: number
  /** For a client to say what it wants: its first byte, handshakes, the head of a request. */
  readonly headers: number
  /** For which nothing may come or go, in a request, an answer or a tunnel. */
  readonly idle: number
  /** For which a client's connection is kept for its next request. */
  readonly keep_alive: number
}

/** What is beyond is answered with 503. */
export interface LimitsSection {
  /** Connections of clients at a time; fewer where the process may not open as many files. */
  readonly connections: number
  /** From one address. */
  readonly client_connections: number
  /** At a time. */
  readonly requests: number
  /** Of the head of a request. */
  readonly header_bytes: number
  /** A minute for which a certificate is made. */
  readonly new_hosts: number
  /** The same, for one address. */
  readonly client_new_hosts: number
}

interface LoggingSection {
  readonly level: LogLevel
  readonly format: LogFormat
  /** Path to append to; empty means stdout. */
  readonly file: string
}
