import { basename, dirname } from 'node:path'
import { DiscobotError } from '../../base/errors.js'
import { besides, UntrustedPathError, type HeldFolder } from '../system/held-folder.js'

/** The docker client's configuration is somebody's own and not ours to repair. */
class DockerConfigError extends DiscobotError {
  readonly code = 'DOCKER_CONFIG_UNUSABLE'
}

interface ClientConfigOptions {
  readonly owner?: { readonly uid: number; readonly gid: number }
  /** What containers are to use, or undefined to take ours out again. */
  readonly proxyUrl: string | undefined
}

/**
 * `proxies.default` of `config.json`: the docker client hands it to every container and build it starts, which
 * inherit nothing of dockerd's own environment. All else in the file is kept, and so is a proxy that is not ours.
 *
 * The home is its owner's, who may have put links into it: none is followed, and what the owner could not read is not
 * copied into a file that the owner can.
 *
 * @throws DockerConfigError when the file holds something other than a JSON object; UntrustedPathError.
 */
export async function configureDockerClient(path: string, options: ClientConfigOptions): Promise<void> {
  const { owner } = options
  besides(dirname(path), (home, name) => {
    if (home.find(name) === undefined) {
      // Nothing to take out.
      if (options.proxyUrl === undefined) return
      const made = home.make(name, 0o700)
      if (owner !== undefined) made.give(owner)
      made.close()
    }
    const folder = home.enter(name)
    try {
      configureIn(folder, basename(path), path, options)
    } finally {
      folder.close()
    }
  })
}

function configureIn(folder: HeldFolder, name: string, path: string, options: ClientConfigOptions): void {
  const before = readAsOwner(folder, name, options.owner)
  const config = parse(path, before)
  const proxies = isObject(config['proxies']) ? config['proxies'] : {}
  const present = proxies['default']
  const ours = isObject(present) && /^http:\/\/172\.17\.0\.1:\d+$/.test(String(present['httpProxy']))
  if (present !== undefined && !ours) return
  const { default: _replaced, ...others } = proxies
  const { proxyUrl, owner } = options
  const entry =
    proxyUrl === undefined
      ? {}
      : { default: { httpProxy: proxyUrl, httpsProxy: proxyUrl, noProxy: NO_PROXY } }
  const next = { ...config, proxies: { ...others, ...entry } }
  if (before === undefined && proxyUrl === undefined) return
  const text = `${JSON.stringify(next, null, '\t')}\n`
  if (text === before && hasMode(folder, name, owner)) return
  folder.write(name, text, { mode: 0o600, ...(owner === undefined ? {} : { owner }) })
}

/** By a second name of it, root would read what its owner may not. */
function readAsOwner(
  folder: HeldFolder,
  name: string,
  owner: ClientConfigOptions['owner'],
): string | undefined {
  const read = folder.read(name)
  if (read === undefined || owner === undefined) return read?.text
  const { uid, mode } = read.stats
  if (uid === owner.uid || (mode & 0o004) !== 0) return read.text
  throw new UntrustedPathError(
    `cannot use ${folder.path}/${name}: it belongs to uid ${uid}, and uid ${owner.uid} may not read it`,
  )
}

/** 0600: the same file holds the user's registry credentials. */
function hasMode(folder: HeldFolder, name: string, owner: ClientConfigOptions['owner']): boolean {
  const found = folder.find(name)
  if (found === undefined || (found.mode & 0o7777) !== 0o600) return false
  return owner === undefined || (found.uid === owner.uid && found.gid === owner.gid)
}

/** With the networks docker makes by itself: containers reach each other directly. */
const NO_PROXY = 'localhost,127.0.0.1,::1,172.16.0.0/12'

function parse(path: string, text: string | undefined): Record<string, unknown> {
  if (text === undefined || text.trim() === '') return {}
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    parsed = undefined
  }
  if (isObject(parsed)) return parsed
  throw new DockerConfigError(
    `cannot add the proxy to ${path}: it holds no JSON object; correct it, until then containers go without the proxy`,
  )
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
