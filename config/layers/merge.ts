import { mergeRules } from './cache-rules.js'
import type { Config, HeaderRule, SecretSource } from '../model/config.js'
import type { Layer, LayerSections, Origin, SectionName } from './layer.js'
import { optionOf } from './places.js'
import type { KeyPath } from '../yaml/yaml-document.js'

/** Dotted key (`cache.max_size`, `headers.example.com`) → where its value comes from. */
export type Sources = Readonly<Record<string, readonly Origin[]>>

export interface Merged {
  /** Frozen, all the way down. */
  readonly config: Config
  readonly sources: Sources
  /** Where a value in force is written, down to the item of a list (`['rules', 2]`). */
  originsOf(path: KeyPath): readonly Origin[]
}

/**
 * Puts files together key by key: of each key, the first layer that says something counts. Lists and
 * header rules are taken whole, header rules pattern by pattern.
 *
 * @param layers the last must say something for every key, as the shipped default does.
 */
export function mergeLayers(layers: readonly Layer[]): Merged {
  const sources: Record<string, readonly Origin[]> = {}
  const chosen = new Map<string, Layer>()
  const choose = (option: string, layer: Layer, path: KeyPath): void => {
    chosen.set(option, layer)
    sources[option] = layer.originsOf(path)
  }

  const take = <S extends SectionName, K extends keyof Config[S] & string>(section: S, key: K) => {
    for (const layer of layers) {
      const sections: LayerSections = layer.values
      const value = sections[section]?.[key]
      if (value === undefined) continue
      choose(`${section}.${key}`, layer, [section, key])
      return value
    }
    throw new TypeError(`the default configuration lacks ${section}.${key}`)
  }

  const headers: Record<string, HeaderRule> = {}
  for (const layer of layers) {
    for (const [pattern, rule] of Object.entries(layer.values.headers ?? {})) {
      if (Object.hasOwn(headers, pattern)) continue
      headers[pattern] = {
        set: rule.set ?? {},
        append: rule.append ?? {},
        conditions: rule.conditions ?? [],
        insecure: rule.insecure ?? false,
      }
      choose(`headers.${pattern}`, layer, ['headers', pattern])
    }
  }
  const rulesLayer = layers.find(({ values }) => values.rules !== undefined)
  if (rulesLayer?.values.rules === undefined) throw new TypeError('the default configuration lacks rules')
  choose('rules', rulesLayer, ['rules'])

  const secrets: Record<string, SecretSource> = {}
  for (const layer of layers) {
    for (const [name, secret] of Object.entries(layer.values.secrets ?? {})) {
      if (Object.hasOwn(secrets, name)) continue
      secrets[name] = completeSecret(name, secret)
      choose(`secrets.${name}`, layer, ['secrets', name])
    }
  }

  const config: Config = {
    proxy: {
      port: take('proxy', 'port'),
      api_port: take('proxy', 'api_port'),
      host: take('proxy', 'host'),
      auth: take('proxy', 'auth'),
    },
    tls: {
      cert_dir: take('tls', 'cert_dir'),
      passthrough: take('tls', 'passthrough'),
      upstream_ca: take('tls', 'upstream_ca'),
    },
    cache: {
      enabled: take('cache', 'enabled'),
      dir: take('cache', 'dir'),
      max_size: take('cache', 'max_size'),
      patterns: take('cache', 'patterns'),
      rules: (take('cache', 'rules'), mergeRules(layers.map(({ values }) => values.cache?.rules ?? []))),
      ttl: take('cache', 'ttl'),
      stale_if_error: take('cache', 'stale_if_error'),
      offline: take('cache', 'offline'),
      authorization: take('cache', 'authorization'),
      fill: take('cache', 'fill'),
      fill_share: take('cache', 'fill_share'),
      min_free: take('cache', 'min_free'),
      memory: take('cache', 'memory'),
      apart: take('cache', 'apart'),
    },
    headers,
    secrets,
    allowlist: {
      enabled: take('allowlist', 'enabled'),
      domains: take('allowlist', 'domains'),
      ips: take('allowlist', 'ips'),
    },
    blocklist: { domains: take('blocklist', 'domains'), ips: take('blocklist', 'ips') },
    rules: rulesLayer.values.rules,
    policy: { mode: take('policy', 'mode') },
    egress: {
      private: take('egress', 'private'),
      connect_ports: take('egress', 'connect_ports'),
      allow: take('egress', 'allow'),
      block: take('egress', 'block'),
      own_ports: take('egress', 'own_ports'),
      enforce: take('egress', 'enforce'),
      dns: take('egress', 'dns'),
    },
    upstream_proxy: {
      url: take('upstream_proxy', 'url'),
      no_proxy: take('upstream_proxy', 'no_proxy'),
      resolve: take('upstream_proxy', 'resolve'),
    },
    timeouts: {
      connect: take('timeouts', 'connect'),
      headers: take('timeouts', 'headers'),
      idle: take('timeouts', 'idle'),
      keep_alive: take('timeouts', 'keep_alive'),
    },
    limits: {
      connections: take('limits', 'connections'),
      client_connections: take('limits', 'client_connections'),
      requests: take('limits', 'requests'),
      header_bytes: take('limits', 'header_bytes'),
      new_hosts: take('limits', 'new_hosts'),
      client_new_hosts: take('limits', 'client_new_hosts'),
    },
    logging: {
      level: take('logging', 'level'),
      format: take('logging', 'format'),
      file: take('logging', 'file'),
    },
  }
  return {
    config: deepFreeze(config),
    sources: Object.freeze(sources),
    originsOf(path) {
      return chosen.get(optionOf(path))?.originsOf(path) ?? []
    },
  }
}

/**
 * Where tools put a key. No others: servers repeat many headers in their answers (Origin, X-Request-Id, …), and
 * by those a client would get to see the secret itself.
 */
const PLACEHOLDER_HEADERS: readonly string[] = [
  'Authorization',
  'X-Api-Key',
  'Api-Key',
  'X-Goog-Api-Key',
  'X-Auth-Token',
  'Private-Token',
]

/** What a secret is when nothing else is said: the variable of its own name. */
export function completeSecret(name: string, secret: Partial<SecretSource>): SecretSource {
  return {
    ...secret,
    hosts: secret.hosts ?? [],
    ...(secret.file === undefined && { env: secret.env ?? name }),
    ...(secret.placeholder !== undefined && {
      placeholder_headers: secret.placeholder_headers ?? PLACEHOLDER_HEADERS,
    }),
  }
}

/** Freezes plain objects and arrays, all the way down. */
export function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    for (const part of Object.values(value)) deepFreeze(part)
    Object.freeze(value)
  }
  return value
}
