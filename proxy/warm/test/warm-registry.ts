import { createHash, randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

const INDEX = 'application/vnd.oci.image.index.v1+json'
const IMAGE = 'application/vnd.oci.image.manifest.v1+json'

interface Stored {
  readonly digest: string
  readonly size: number
}

/** Answers a request in another way than the registry would; true when it did. */
type Mischief = (request: IncomingMessage, response: ServerResponse) => boolean

/**
 * A registry of repository `team/app` as the large ones are: a token server of its own, and blobs that redirect to a
 * CDN by another name of the machine with a signature in the query.
 */
export class WarmRegistry {
  /** `METHOD url` of every request, in order; those to the CDN and the token server begin with their names. */
  readonly requests: string[] = []
  /** `Authorization` headers that reached the CDN. */
  readonly leaked: string[] = []
  mischief: Mischief = () => false
  readonly #contents = new Map<string, { readonly bytes: Buffer; readonly type: string }>()
  #port = 0
  #cdnPort = 0
  #tokenPort = 0

  static async start(t: Test): Promise<WarmRegistry> {
    const registry = new WarmRegistry()
    registry.#port = await listen(t, (request, response) => registry.#answer(request, response))
    registry.#cdnPort = await listen(t, (request, response) => registry.#answerCdn(request, response))
    registry.#tokenPort = await listen(t, (request, response) => {
      registry.requests.push(`TOKEN ${request.url ?? ''}`)
      response.setHeader('Content-Type', 'application/json').end('{"token": "a-bearer-token"}')
    })
    return registry
  }

  /** As `docker pull` would be given it. */
  image(reference = ':1'): string {
    return `127.0.0.1:${this.#port}/team/app${reference}`
  }

  url(path: string): string {
    return `http://127.0.0.1:${this.#port}${path}`
  }

  /** What a GET of a manifest or blob by digest would be. */
  fetches(digest: string): number {
    return this.requests.filter((line) => line.startsWith('GET ') && line.includes(digest)).length
  }

  put(bytes: Buffer, type = 'application/octet-stream'): Stored {
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`
    this.#contents.set(digest, { bytes, type })
    return { digest, size: bytes.length }
  }

  /** An image with a layer of each size; the first one twice. */
  putImage(sizes: readonly number[]): {
    readonly manifest: Stored
    readonly config: Stored
    readonly layers: Stored[]
  } {
    const config = this.put(
      Buffer.from(JSON.stringify({ os: 'linux', nonce: randomBytes(8).toString('hex') })),
    )
    const layers = sizes.map((size) => this.put(randomBytes(size)))
    const repeated = [...layers, ...layers.slice(0, 1)]
    return { manifest: this.putManifest({ config, layers: repeated }), config, layers }
  }

  putManifest(value: object): Stored {
    return this.#putJson(value, IMAGE)
  }

  /** An index under the tag `1`, with an attestation as builders add it. */
  tagIndex(images: Readonly<Record<string, Stored>>): Stored {
    const manifests = Object.entries(images).map(([platform, stored]) => {
      const [os, architecture, variant] = platform.split('/')
      return { ...stored, platform: { os, architecture, ...(variant === undefined ? {} : { variant }) } }
    })
    const attestation = {
      ...this.put(Buffer.from('{}')),
      platform: { os: 'unknown', architecture: 'unknown' },
    }
    const index = this.#putJson({ manifests: [...manifests, attestation] }, INDEX)
    this.tag('1', index)
    return index
  }

  tag(name: string, { digest }: Stored): void {
    const content = this.#contents.get(digest)
    if (content !== undefined) this.#contents.set(name, content)
  }

  #putJson(value: object, mediaType: string): Stored {
    return this.put(Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, ...value })), mediaType)
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    this.requests.push(`${request.method ?? ''} ${request.url ?? ''}`)
    if (this.mischief(request, response)) return
    const [, kind, reference = ''] =
      /^\/v2\/team\/app\/(manifests|blobs)\/(.+)$/.exec(request.url ?? '') ?? []
    if (kind !== undefined && request.headers.authorization !== 'Bearer a-bearer-token') {
      response.setHeader(
        'WWW-Authenticate',
        `Bearer realm="http://127.0.0.1:${this.#tokenPort}/token",service="registry",scope="repository:team/app:pull"`,
      )
      response.writeHead(401).end()
    } else if (kind === 'blobs') {
      const [algorithm, hex = ''] = reference.split(':')
      const path = `/${algorithm ?? ''}/${hex.slice(0, 2)}/${hex}`
      response.writeHead(307, {
        Location: `http://localhost:${this.#cdnPort}${path}?Signature=${randomBytes(8).toString('hex')}`,
      })
      response.end()
    } else {
      this.#send(response, kind === undefined ? (request.url ?? '') : reference)
    }
  }

  #answerCdn(request: IncomingMessage, response: ServerResponse): void {
    this.requests.push(`CDN ${request.url ?? ''}`)
    if (request.headers.authorization !== undefined) this.leaked.push(request.headers.authorization)
    if (this.mischief(request, response)) return
    const [, algorithm = '', hex = ''] = /^\/(\w+)\/..\/([0-9a-f]+)\?Signature=/.exec(request.url ?? '') ?? []
    this.#send(response, `${algorithm}:${hex}`)
  }

  #send(response: ServerResponse, reference: string): void {
    const content = this.#contents.get(reference)
    if (content === undefined) {
      response.writeHead(404, { 'Content-Type': 'text/plain' }).end('no such thing\n')
      return
    }
    response.writeHead(200, { 'Content-Type': content.type, 'Content-Length': content.bytes.length })
    response.end(content.bytes)
  }
}

async function listen(t: Test, listener: RequestListener): Promise<number> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}
