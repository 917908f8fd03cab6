import { isDeepStrictEqual } from 'node:util'
import type { Config } from '../../config/model/config.js'

interface Key {
  readonly name: string
  readonly of: (config: Config) => unknown
}

/** Bound to sockets, certificates and an index that exist already. */
const NEED_RESTART: readonly Key[] = [
  { name: 'proxy.port', of: ({ proxy }) => proxy.port },
  { name: 'proxy.api_port', of: ({ proxy }) => proxy.api_port },
  { name: 'proxy.host', of: ({ proxy }) => proxy.host },
  { name: 'tls.cert_dir', of: ({ tls }) => tls.cert_dir },
  { name: 'cache.dir', of: ({ cache }) => cache.dir },
]

/**
 * Whoever may use the API is not to choose which files the proxy writes to, where secrets come from and go, who may
 * use the proxy, nor by which way traffic goes or whether it may go by another one.
 */
const FILE_ONLY: readonly Key[] = [
  ...NEED_RESTART,
  { name: 'logging.file', of: ({ logging }) => logging.file },
  { name: 'cache.apart', of: ({ cache }) => cache.apart },
  { name: 'proxy.auth', of: ({ proxy }) => proxy.auth },
  { name: 'egress.enforce', of: ({ egress }) => egress.enforce },
  { name: 'egress.dns', of: ({ egress }) => egress.dns },
  { name: 'upstream_proxy.url', of: ({ upstream_proxy }) => upstream_proxy.url },
  { name: 'upstream_proxy.no_proxy', of: ({ upstream_proxy }) => upstream_proxy.no_proxy },
  { name: 'upstream_proxy.resolve', of: ({ upstream_proxy }) => upstream_proxy.resolve },
  { name: 'secrets', of: ({ secrets }) => secrets },
]

/** Names of the keys that `next` changes and that apply at the next start only. */
export function keysPendingRestart(running: Config, next: Config): readonly string[] {
  return changed(NEED_RESTART, running, next)
}

/** Names of the keys that `next` changes and that only the file may change. */
export function keysOnlyForFile(former: Config, next: Config): readonly string[] {
  return changed(FILE_ONLY, former, next)
}

/** Names of the keys that only the file may change. */
export const FILE_ONLY_KEYS: readonly string[] = FILE_ONLY.map(({ name }) => name)

/** `next` as far as it can be had without a restart. */
export function withoutRestart(running: Config, next: Config): Config {
  const { port, api_port, host } = running.proxy
  return {
    ...next,
    proxy: { ...next.proxy, port, api_port, host },
    tls: { ...next.tls, cert_dir: running.tls.cert_dir },
    cache: { ...next.cache, dir: running.cache.dir },
  }
}

function changed(keys: readonly Key[], one: Config, other: Config): readonly string[] {
  return keys.filter(({ of }) => !isDeepStrictEqual(of(one), of(other))).map(({ name }) => name)
}
