import { spawn } from 'node:child_process'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'

/** tap's test object, as far as it is needed here. */
interface Scope {
  teardown(clean: () => Promise<void> | void): void
}

interface GitServer {
  readonly url: string
  /** `Authorization` of every request, in order; empty where there was none. */
  readonly authorizations: readonly string[]
}

/**
 * Git's own smart HTTP server below `root`, for whoever sends these Basic credentials; or a redirect to
 * another server for paths below `/moved/`.
 *
 * @param more `tls` makes it https; of as many packs as `breakOff` says only the first bytes are sent; with
 *   `filtersOnce` it leaves out what is filtered, and does not give it out when it is asked for.
 */
export async function startGitServer(
  t: Scope,
  root: string,
  credentials?: { readonly username: string; readonly password: string },
  movedTo?: string,
  more: {
    readonly tls?: { readonly cert: string; readonly key: string }
    readonly breakOff?: number
    readonly filtersOnce?: boolean
  } = {},
): Promise<GitServer> {
  const authorizations: string[] = []
  const wanted =
    credentials &&
    `Basic ${Buffer.from(`${credentials.username}:${credentials.password}`).toString('base64')}`
  let toBreakOff = more.breakOff ?? 0
  let hasFiltered = false
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const authorization = request.headers.authorization ?? ''
    authorizations.push(authorization)
    if (movedTo !== undefined && request.url?.startsWith('/moved/') === true) {
      response.writeHead(302, { location: movedTo + request.url.slice('/moved'.length) }).end()
    } else if (wanted !== undefined && authorization !== wanted) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="git"' }).end()
    } else if (toBreakOff > 0 && request.method === 'POST') {
      toBreakOff -= 1
      response.writeHead(200, { 'content-type': 'application/x-git-upload-pack-result' })
      response.write('0008NAK\n', () => response.destroy())
    } else if (more.filtersOnce === true && request.method === 'POST') {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        const body = Buffer.concat(chunks)
        const isFiltered = body.includes('filter blob:none')
        if (isFiltered && hasFiltered) response.writeHead(403).end()
        else serve(root, request, response, body)
        hasFiltered ||= isFiltered
      })
    } else serve(root, request, response)
  }
  const server = more.tls === undefined ? createServer(answer) : createTlsServer(more.tls, answer)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    return new Promise<void>((resolve) => server.close(() => resolve()))
  })
  const scheme = more.tls === undefined ? 'http' : 'https'
  return { url: `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`, authorizations }
}

/** CGI/1.1, RFC 3875, as much of it as git http-backend needs. */
function serve(root: string, request: IncomingMessage, response: ServerResponse, body?: Buffer): void {
  const url = new URL(request.url ?? '/', 'http://localhost')
  const child = spawn('git', ['http-backend'], {
    env: {
      PATH: process.env['PATH'],
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: '1',
      GIT_CONFIG_COUNT: '2',
      GIT_CONFIG_KEY_0: 'safe.directory',
      GIT_CONFIG_VALUE_0: '*',
      GIT_CONFIG_KEY_1: 'uploadpack.allowFilter',
      GIT_CONFIG_VALUE_1: 'true',
      PATH_INFO: decodeURIComponent(url.pathname),
      QUERY_STRING: url.search.slice(1),
      REQUEST_METHOD: request.method,
      CONTENT_TYPE: request.headers['content-type'] ?? '',
      HTTP_GIT_PROTOCOL: String(request.headers['git-protocol'] ?? ''),
      HTTP_CONTENT_ENCODING: String(request.headers['content-encoding'] ?? ''),
      REMOTE_ADDR: '127.0.0.1',
    },
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  if (body === undefined) request.pipe(child.stdin)
  else child.stdin.end(body)
  child.stdin.on('error', () => undefined)
  let head = Buffer.alloc(0)
  child.stdout.on('data', (chunk: Buffer) => {
    if (response.headersSent) {
      response.write(chunk)
      return
    }
    head = Buffer.concat([head, chunk])
    const end = head.indexOf('\r\n\r\n')
    if (end === -1) return
    let status = 200
    const headers: Record<string, string> = {}
    for (const line of head.subarray(0, end).toString().split('\r\n')) {
      const [name = '', value = ''] = line.split(/: ?(.*)/)
      if (name.toLowerCase() === 'status') status = Number.parseInt(value, 10)
      else headers[name] = value
    }
    response.writeHead(status, headers)
    response.write(head.subarray(end + 4))
  })
  child.on('close', () => response.end())
}
