import { join, relative } from 'node:path'

/** Ports both programs agree on; high enough to collide with little, easy to remember. */
export const PROXY_PORT = 17080
export const PROXY_API_PORT = 17081
export const AGENT_API_PORT = 3002
/** Where the proxy answers for names, where a packet filter sends those who ask. */
export const NAMES_PORT = 17053

/** Never a name: `localhost` may resolve to `::1`, where nothing of ours listens. */
export const LOOPBACK = '127.0.0.1'

/**
 * Where a rootless Docker engine and its containers find the proxy. RFC 5737 keeps it out of every network, so it is
 * never somebody else's; and it is not of loopback, since the engine has a loopback of its own, and who comes by it must
 * count as somebody from elsewhere.
 */
export const ENGINE_PROXY_ADDRESS = '192.0.2.1'

export const DEFAULT_DATA_DIR = '/.data'

/** Where things live under one data directory. */
export interface DataPaths {
  readonly root: string
  readonly proxyDir: string
  readonly proxyConfig: string
  /** What is known of it (known-config.ts). Not in the proxy's own folder: the agent believes what it says. */
  readonly knownConfig: string
  readonly certDir: string
  readonly caCert: string
  readonly caKey: string
  readonly cacheDir: string
  readonly apiToken: string
  readonly dockerDir: string
  /** Of the rootless engine, which owns it. */
  readonly dockerRootlessDir: string
  /** Layers of the home: the base and what each session changed. */
  readonly homeDir: string
  readonly logsDir: string
  /** Where the proxy listened at the last start. */
  readonly listeners: string
  /** What we have cloned. */
  readonly clones: string
}

export function dataPaths(root: string): DataPaths {
  const proxyDir = join(root, 'proxy')
  const certDir = join(proxyDir, 'certs')
  return {
    root,
    proxyDir,
    proxyConfig: join(proxyDir, 'config.yaml'),
    knownConfig: join(root, 'proxy-config.json'),
    certDir,
    caCert: join(certDir, 'ca.crt'),
    caKey: join(certDir, 'ca.key'),
    cacheDir: join(proxyDir, 'cache'),
    apiToken: join(proxyDir, 'api-token'),
    dockerDir: join(root, 'docker'),
    dockerRootlessDir: join(root, 'docker-rootless'),
    logsDir: join(root, 'logs'),
    homeDir: join(root, 'home'),
    listeners: join(root, 'proxy-listeners.json'),
    clones: join(root, 'clones.json'),
  }
}

/** Whether `path` is `folder` itself or below it, going by names alone; both absolute. */
export function isWithin(path: string, folder: string): boolean {
  const way = relative(folder, path)
  return way !== '..' && !way.startsWith('../')
}

/**
 * Where nobody says: the image's volume where it is, else a folder of who started us. At the root of somebody's own
 * machine nothing is ours to make.
 */
export function dataDirWhenUnnamed(isThere: (path: string) => boolean): string {
  return isThere(DEFAULT_DATA_DIR) ? DEFAULT_DATA_DIR : '.data'
}
