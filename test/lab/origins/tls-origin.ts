/**
 * A program: the servers of a test behind TLS, on port 443 of the address that the container's names lead to.
 *
 *   node tls-origin.js CERTIFICATES SITE
 *
 * Certificates are CERTIFICATES/<name>.crt and .key. Which name is asked decides what it does:
 *
 *   web.test   says what it was asked and by way of whom; below /v2/ it hands out SITE/blobs/<digest>, and
 *              /digest-of/<name> is the SHA-256 of the header of that name
 *   cut.test   the same, but breaks off in the middle of every body
 *   git.test   git's own server for the repositories in SITE/git
 *   npm.test   a package registry for the archives in SITE/npm
 *
 * Prints `listening`, then a line for every request: name, method, path and `Via`.
 */
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { request as askHttp, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import { join } from 'node:path'
import { createSecureContext } from 'node:tls'
import { startGitServer } from './git-server.js'
import { ORIGIN_ADDRESS } from './origin-certificates.js'

const [certificates = '', site = ''] = process.argv.slice(2)
// It ends with the container, and what it has started as well.
const git = await startGitServer({ teardown: () => undefined }, join(site, 'git'))

const server = createServer(
  {
    SNICallback: (name, callback) => {
      const read = (kind: string): Buffer => readFileSync(join(certificates, `${name}.${kind}`))
      callback(null, createSecureContext({ cert: read('crt'), key: read('key') }))
    },
  },
  (request, response) => {
    const { host = '', via = '-' } = request.headers
    process.stdout.write(`${host} ${request.method} ${request.url} ${via.replace(/-[0-9a-f]{8}$/, '')}\n`)
    if (host === 'git.test') toGit(request, response)
    else if (host === 'npm.test') npm(request.url ?? '', response)
    else web(request, response)
  },
)
server.listen(443, ORIGIN_ADDRESS, () => process.stdout.write('listening\n'))

function web(request: IncomingMessage, response: ServerResponse): void {
  const header = /^\/digest-of\/([\w-]+)$/.exec(request.url ?? '')?.[1]
  if (header !== undefined) {
    const value = String(request.headers[header])
    return void response.end(createHash('sha256').update(value).digest('hex'))
  }
  const digest = /^\/v2\/.*\/sha256:([0-9a-f]{64})$/.exec(request.url ?? '')?.[1]
  const body =
    digest === undefined
      ? Buffer.from(
          `you asked for ${request.url} by way of ${request.headers.via?.replace(/-[0-9a-f]{8}$/, '') ?? 'nobody'}\n`,
        )
      : readFileSync(join(site, 'blobs', digest))
  response.writeHead(200, { 'content-length': body.length, 'content-type': 'application/octet-stream' })
  if (request.headers.host === 'cut.test') {
    response.write(body.subarray(0, body.length / 2), () => response.destroy())
  } else response.end(body)
}

function toGit(request: IncomingMessage, response: ServerResponse): void {
  const { url = '/', method = 'GET', headers } = request
  const asked = askHttp(git.url + url, { method, headers }, (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers)
    answer.pipe(response)
  })
  asked.on('error', () => response.destroy())
  request.pipe(asked)
}

/** https://github.com/npm/registry/blob/main/docs/responses/package-metadata.md, as much as an install asks for. */
function npm(path: string, response: ServerResponse): void {
  const version = '1.0.0'
  const [, name = '', archive] = /^\/([\w-]+)(?:\/-\/([\w.-]+\.tgz))?$/.exec(path) ?? []
  const file = join(site, 'npm', archive ?? `${name}-${version}.tgz`)
  // An install asks for security advice and for npm itself too, and goes on without.
  if (!existsSync(file)) return void response.writeHead(404).end()
  const content = readFileSync(file)
  if (archive !== undefined) return void response.end(content)
  const dist = {
    tarball: `https://npm.test/${name}/-/${name}-${version}.tgz`,
    integrity: `sha512-${createHash('sha512').update(content).digest('base64')}`,
  }
  response.setHeader('content-type', 'application/json')
  response.end(
    JSON.stringify({
      name,
      'dist-tags': { latest: version },
      versions: { [version]: { name, version, dist } },
    }),
  )
}
