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
  readonly allowlist: AllowlistSection
  readonly blocklist: BlocklistSection
  readonly logging: LoggingSection
}

export interface ProxySection {
  /** 0–65535; 0 asks the kernel for a free port. */
  readonly port: number
  /** 0–65535; 0 asks the kernel for a free port. */
  readonly api_port: number
  /** An IP address to listen on, or several; those after the first may appear later (a Docker bridge). */
  readonly host: readonly string[]
}

export interface TlsSection {
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
}

export interface HeaderRule {
  /** Header → value that replaces whatever the client sent. */
  readonly set: Readonly<Record<string, string>>
  /** Header → value joined to the client's with ", ". */
  readonly append: Readonly<Record<string, string>>
  /** All must hold for the rule to apply; none means always. */
  readonly conditions: readonly HeaderCondition[]
}

export interface HeaderCondition {
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

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'
export type LogFormat = 'text' | 'json'

export interface LoggingSection {
  readonly level: LogLevel
  readonly format: LogFormat
  /** Path to append to; empty means stdout. */
  readonly file: string
}
