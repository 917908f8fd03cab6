import { proxyEnvironment, type ProxyAccess } from '../settings/environment.js'
import type { Choice, Flag } from './choice.js'

/** Since then dockerd has flags for it; its file can name the proxy too, and then the environment counts no more. */
const KNOWS_PROXY_FLAGS = 23

/** dockerd gets the variables in any case; with the flags `docker info` shows them as its own settings. */
export function chooseProxy(major: number, access: ProxyAccess | undefined): Choice {
  if (access === undefined) return { flags: [], told: 'no proxy' }
  if (major < KNOWS_PROXY_FLAGS) return { flags: [], told: 'proxy by environment' }
  const env = proxyEnvironment(access)
  const flags = ['http-proxy', 'https-proxy', 'no-proxy'].map((name): Flag => [
    name,
    env[name.replace('-', '_')] ?? '',
  ])
  return { flags, told: 'proxy by flags' }
}

/** `Docker version 20.10.24+dfsg1, build 5d6db84` → 20; 0 when it cannot be told. */
export function majorOf(version: string): number {
  return Number(/\bversion v?(\d+)\./.exec(version)?.[1] ?? 0)
}
