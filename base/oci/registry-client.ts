import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { reasonOf } from '../errors.js'
import { WarmFetchError } from './errors.js'
import type { ImageReference } from './image-reference.js'
import { MANIFEST_ACCEPT, MAX_MANIFEST_BYTES, parseManifest, type Manifest } from './manifest.js'
import { brokenOff, shown, type Fetched, type Kept, type ThroughProxy } from './through-proxy.js'

/** A token server's answer is some KiB. */
const MAX_TOKEN_BYTES = 64 * 1024

interface FetchedManifest {
  readonly manifest: Manifest
  /** `sha256:…` of its bytes, or the digest it was asked for by. */
  readonly digest: string
  readonly size: number
  readonly kept: Kept
}

/** Reads one repository of a registry (OCI distribution specification, 1.1, "Pulling"). */
export class RegistryClient {
  readonly #through: ThroughProxy
  readonly #image: ImageReference
  #token: string | undefined

  constructor(through: ThroughProxy, image: ImageReference) {
    this.#through = through
    this.#image = image
  }

  /** @param reference a tag or a digest. @throws WarmFetchError */
  async manifest(reference: string, signal: AbortSignal): Promise<FetchedManifest> {
    const { message, kept, url } = await this.#get(
      `manifests/${reference}`,
      { Accept: MANIFEST_ACCEPT },
      signal,
    )
    const bytes = await readAll(message, MAX_MANIFEST_BYTES, url)
    const [algorithm = 'sha256', promised] = reference.includes(':') ? reference.split(':', 2) : []
    const hex = createHash(algorithm).update(bytes).digest('hex')
    if (promised !== undefined && hex !== promised) {
      throw new WarmFetchError(`cannot use ${shown(url)}: what came is ${algorithm}:${hex}`)
    }
    try {
      const manifest = parseManifest(bytes, message.headers['content-type'])
      return { manifest, digest: `${algorithm}:${hex}`, size: bytes.length, kept }
    } catch (error) {
      throw new WarmFetchError(`cannot use ${shown(url)}: ${reasonOf(error)}`, { cause: error })
    }
  }

  /**
   * Reads a blob to its end and lets go of it: what it is for happens in the cache.
   *
   * @param onBytes told how many more have come.
   * @throws WarmFetchError
   */
  async blob(digest: string, onBytes: (count: number) => void, signal: AbortSignal): Promise<Kept> {
    const { message, kept, url } = await this.#get(`blobs/${digest}`, {}, signal)
    await drain(message, url, onBytes)
    return kept
  }

  async #get(path: string, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<Fetched> {
    const { scheme, registry, repository } = this.#image
    const url = new URL(`${scheme}://${registry.authority}/v2/${repository}/${path}`)
    const ask = (): Promise<Fetched> =>
      this.#through.get(
        url,
        this.#token === undefined ? headers : { ...headers, Authorization: `Bearer ${this.#token}` },
        signal,
      )
    const first = await ask()
    if (first.message.statusCode !== 401) return first
    first.message.resume()
    this.#token = await this.#newToken(first.message.headers['www-authenticate'] ?? '', url, signal)
    const second = await ask()
    if (second.message.statusCode !== 401) return second
    second.message.resume()
    throw new WarmFetchError(
      `cannot fetch ${shown(url)}: 401; the registry does not let us read ${repository}`,
    )
  }

  /** The token protocol of registries: https://distribution.github.io/distribution/spec/auth/token/. */
  async #newToken(challenge: string, asked: URL, signal: AbortSignal): Promise<string> {
    const { realm, service, scope } = bearerParameters(challenge)
    if (realm === undefined || !URL.canParse(realm)) {
      throw new WarmFetchError(
        `cannot fetch ${shown(asked)}: 401; give the registry's credentials by a rule under "headers" of the configuration`,
      )
    }
    const url = new URL(realm)
    if (url.protocol !== 'https:' && asked.protocol === 'https:') {
      throw new WarmFetchError(
        `cannot fetch ${shown(asked)}: its token server ${shown(url)} does not speak TLS`,
      )
    }
    if (service !== undefined) url.searchParams.set('service', service)
    url.searchParams.set('scope', scope ?? `repository:${this.#image.repository}:pull`)
    const { message } = await this.#through.get(url, { Accept: 'application/json' }, signal)
    const bytes = await readAll(message, MAX_TOKEN_BYTES, url)
    const token = message.statusCode === 401 ? undefined : tokenIn(bytes)
    if (token === undefined) {
      throw new WarmFetchError(`cannot fetch ${shown(asked)}: ${shown(url)} gave no token`)
    }
    return token
  }
}

/** Reads a body to its end for nobody. @throws WarmFetchError when it breaks off. */
export async function drain(
  message: IncomingMessage,
  url: URL,
  onBytes: (count: number) => void,
): Promise<void> {
  try {
    for await (const piece of message) onBytes((piece as Buffer).length)
  } catch (error) {
    throw new WarmFetchError(`cannot fetch ${shown(url)}: ${brokenOff(error)}`, {
      cause: error,
    })
  }
}

async function readAll(message: IncomingMessage, limit: number, url: URL): Promise<Buffer> {
  const pieces: Buffer[] = []
  let length = 0
  try {
    for await (const piece of message) {
      pieces.push(piece as Buffer)
      length += (piece as Buffer).length
      if (length > limit) break
    }
  } catch (error) {
    throw new WarmFetchError(`cannot fetch ${shown(url)}: ${brokenOff(error)}`, {
      cause: error,
    })
  }
  if (length > limit) throw new WarmFetchError(`cannot use ${shown(url)}: it is larger than ${limit} bytes`)
  return Buffer.concat(pieces)
}

/** RFC 9110, 11.6.1, as far as registries use it: one challenge, quoted values without escapes. */
function bearerParameters(challenge: string): Readonly<Record<string, string | undefined>> {
  if (!/^Bearer /i.test(challenge)) return {}
  return Object.fromEntries(
    [...challenge.matchAll(/([a-z]+)="([^"\\]*)"/gi)].map(([, name = '', value]) => [
      name.toLowerCase(),
      value,
    ]),
  )
}

function tokenIn(bytes: Buffer): string | undefined {
  try {
    const value = JSON.parse(bytes.toString()) as { token?: unknown; access_token?: unknown } | null
    const token = value?.token ?? value?.access_token
    return typeof token === 'string' && /^[\x21-\x7e]+$/.test(token) ? token : undefined
  } catch {
    return undefined
  }
}
