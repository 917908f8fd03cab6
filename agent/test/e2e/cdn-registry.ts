/**
 * A program: registries that hand out tokens and redirect for every blob to another host, by an address signed
 * anew each time, as the large ones do. On port 443 of the address that the container's names lead to.
 *
 *   node cdn-registry.js CERTIFICATES LAYOUT
 *
 * Certificates are CERTIFICATES/<name>.crt and .key, LAYOUT is an OCI image layout whose tag is `1`.
 *
 *   one.test, two.test   registries: manifests for who has the token, blobs by redirect
 *   auth.test            gives the token to everybody
 *   cdn.test             blobs, for who has the signature and brings no credentials
 *
 * Prints `listening`, then a line for every request: name, method, path without its query, and status.
 */
import { createHmac, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import { join } from 'node:path'
import { createSecureContext } from 'node:tls'
import { ORIGIN_ADDRESS } from '../../../test/lab/origins/origin-certificates.js'

const [certificates = '', layout = ''] = process.argv.slice(2)
const TOKEN = randomBytes(16).toString('hex')
const KEY = randomBytes(16)
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json'
/** The forms that Docker Hub's network and S3's have. */
const ADDRESSES = [
  (hex: string) => `/registry-v2/docker/registry/v2/blobs/sha256/${hex.slice(0, 2)}/${hex}/data`,
  (hex: string) => `/bucket/sha256/${hex.slice(0, 2)}/${hex}`,
]

createServer(
  {
    SNICallback: (name, callback) => {
      const read = (kind: string): Buffer => readFileSync(join(certificates, `${name}.${kind}`))
      callback(null, createSecureContext({ cert: read('crt'), key: read('key') }))
    },
  },
  (request, response) => {
    const { host = '', ...headers } = request.headers
    const url = new URL(request.url ?? '/', `https://${host}`)
    response.once('finish', () => {
      process.stdout.write(`${host} ${request.method} ${url.pathname} ${response.statusCode}\n`)
    })
    if (host === 'auth.test') response.end(JSON.stringify({ token: TOKEN }))
    else if (host === 'cdn.test') network(request, url, response)
    else if (headers.authorization === `Bearer ${TOKEN}`) registry(url, response)
    else {
      const challenge = `Bearer realm="https://auth.test/token",service="${host}",scope="repository:any:pull"`
      response.writeHead(401, { 'WWW-Authenticate': challenge }).end()
    }
  },
).listen(443, ORIGIN_ADDRESS, () => process.stdout.write('listening\n'))

function registry(url: URL, response: ServerResponse): void {
  const hex = /\/blobs\/sha256:([0-9a-f]{64})$/.exec(url.pathname)?.[1]
  const reference = /\/manifests\/(.+)$/.exec(url.pathname)?.[1]
  if (hex !== undefined) {
    const address = ADDRESSES[Number.parseInt(hex.slice(0, 1), 16) % ADDRESSES.length] ?? String
    const path = address(hex)
    const nonce = randomBytes(8).toString('hex')
    const query = `nonce=${nonce}&Signature=${sign(path, nonce)}`
    response.writeHead(307, { Location: `https://cdn.test${path}?${query}` }).end()
  } else if (reference !== undefined) {
    const digest = reference === '1' ? taggedDigest() : reference
    const content = blob(digest.slice('sha256:'.length))
    const fields = { 'Content-Type': MANIFEST, 'Content-Length': content.length }
    response.writeHead(200, { ...fields, 'Docker-Content-Digest': digest }).end(content)
  } else response.end('{}')
}

function network({ headers }: IncomingMessage, url: URL, response: ServerResponse): void {
  const signed = url.searchParams.get('Signature') === sign(url.pathname, url.searchParams.get('nonce') ?? '')
  // S3 refuses requests that are authorized in two ways.
  if (headers.authorization !== undefined) response.writeHead(400).end()
  else if (!signed) response.writeHead(403).end()
  else response.end(blob(/[0-9a-f]{64}/.exec(url.pathname)?.[0] ?? ''))
}

function sign(path: string, nonce: string): string {
  return createHmac('sha256', KEY).update(`${path} ${nonce}`).digest('hex')
}

function taggedDigest(): string {
  const index = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')) as {
    readonly manifests: readonly { readonly digest: string }[]
  }
  return index.manifests[0]?.digest ?? ''
}

function blob(hex: string): Buffer {
  return readFileSync(join(layout, 'blobs/sha256', hex))
}
