import { chown, lstat, mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { DiscobotError } from '../../config/errors.js'
import { ensureFile, readIfPresent } from '../system/atomic-file.js'

/** The docker client's configuration is somebody's own and not ours to repair. */
export class DockerConfigError extends DiscobotError {
  readonly code = 'DOCKER_CONFIG_UNUSABLE'
}

export interface ClientConfigOptions {
  readonly owner?: { readonly uid: number; readonly gid: number }
  /** What containers are to use, or undefined to take ours out again. */
  readonly proxyUrl: string | undefined
}

/**
 * `proxies.default` of `config.json`: the docker client hands it to every container and build it starts, which
 * inherit nothing of dockerd's own environment. All else in the file is kept, and so is a proxy that is not ours.
 *
 * @throws DockerConfigError when the file holds something other than a JSON object.
 */
export async function configureDockerClient(path: string, options: ClientConfigOptions): Promise<void> {
  const before = await readIfPresent(path)
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
  await ownedFolder(dirname(path), owner)
  // 0600: the same file holds the user's registry credentials.
  const attributes = { mode: 0o600, ...(owner === undefined ? {} : { owner }) }
  await ensureFile(path, `${JSON.stringify(next, null, '\t')}\n`, attributes)
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

async function ownedFolder(path: string, owner: ClientConfigOptions['owner']): Promise<void> {
  if ((await lstat(path).catch(() => undefined)) !== undefined) return
  await mkdir(path, { recursive: true, mode: 0o700 })
  if (owner !== undefined) await chown(path, owner.uid, owner.gid)
}
