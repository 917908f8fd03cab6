import { chmodSync, chownSync, lstatSync, mkdirSync, unlinkSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { connect } from 'node:net'
import { dirname } from 'node:path'
import { codeOf, reasonOf } from '../../config/errors.js'
import type { Logger } from '../../config/logger.js'
import { ControlSocketError } from './errors.js'
import type { AgentStatus } from './status.js'

export interface ControlDeps {
  readonly socketPath: string
  /** Who may connect besides root; absent means our own group. */
  readonly gid?: number
  readonly logger: Logger
  /** Asked for every request. */
  status(): AgentStatus
}

export interface ControlServer {
  /** Resolves when the socket is gone and every connection is closed. */
  close(): Promise<void>
}

/** Owner and group; nobody else. */
const SOCKET_MODE = 0o660
/** The same as a umask: the socket must not be open to all for the moment between bind and chmod. */
const SOCKET_UMASK = 0o117
/** unix(7): 108 bytes with the final NUL. A longer path is cut off silently, and the socket made elsewhere. */
const MAX_PATH_BYTES = 107

/**
 * Serves HTTP on a Unix socket. What a dead agent left behind is removed; a socket that answers is not ours.
 *
 * @throws ControlSocketError
 */
export async function startControlServer(deps: ControlDeps): Promise<ControlServer> {
  const { socketPath, logger } = deps
  await clearWay(socketPath)
  const server = createServer((request, response) => answer(request, response, deps))
  server.on('clientError', (_error, socket) => socket.destroy())
  try {
    await listen(server, socketPath, deps.gid)
  } catch (error) {
    server.close()
    throw new ControlSocketError(socketPath, reasonOf(error), { cause: error })
  }
  server.on('error', (error) => logger.error({ reason: reasonOf(error) }, 'the control socket failed'))
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

async function clearWay(socketPath: string): Promise<void> {
  if (Buffer.byteLength(socketPath) > MAX_PATH_BYTES) {
    throw new ControlSocketError(socketPath, `the path of a socket may have ${MAX_PATH_BYTES} bytes at most`)
  }
  try {
    mkdirSync(dirname(socketPath), { recursive: true, mode: 0o755 })
    if (!lstatSync(socketPath).isSocket()) {
      throw new ControlSocketError(socketPath, 'there is a file of that name that is no socket')
    }
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return
    if (error instanceof ControlSocketError) throw error
    throw new ControlSocketError(socketPath, reasonOf(error), { cause: error })
  }
  if (await isAlive(socketPath)) throw new ControlSocketError(socketPath, 'another agent answers there')
  unlinkSync(socketPath)
}

function isAlive(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath)
    socket.on('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', () => resolve(false))
  })
}

async function listen(server: Server, socketPath: string, gid: number | undefined): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    // bind(2) happens within listen() for a path, so the umask need not stay.
    const umask = process.umask(SOCKET_UMASK)
    try {
      server.listen(socketPath, () => {
        server.off('error', reject)
        resolve()
      })
    } finally {
      process.umask(umask)
    }
  })
  if (gid !== undefined) chownSync(socketPath, process.getuid?.() ?? 0, gid)
  chmodSync(socketPath, SOCKET_MODE)
}

function answer(request: IncomingMessage, response: ServerResponse, deps: ControlDeps): void {
  const path = (request.url ?? '/').split('?', 1)[0]
  if (path !== '/status') return send(response, 404, { title: `there is nothing at ${path}` })
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('allow', 'GET, HEAD')
    return send(response, 405, { title: `${request.method} is not possible here` })
  }
  try {
    send(response, 200, deps.status())
  } catch (error) {
    deps.logger.error({ reason: reasonOf(error) }, 'cannot tell the status')
    send(response, 500, { title: 'the status could not be told; the log says why' })
  }
}

/** Errors as in RFC 9457. */
function send(response: ServerResponse, status: number, body: object): void {
  const problem = status >= 400
  const text = JSON.stringify(problem ? { type: 'about:blank', status, ...body } : body)
  response.writeHead(status, {
    'content-type': problem ? 'application/problem+json' : 'application/json',
    'content-length': Buffer.byteLength(text),
  })
  response.end(text)
}
