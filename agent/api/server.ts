import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { entry } from '../../config/entry.js'
import { DiscobotError, codeOf } from '../../config/errors.js'
import { bindItself, type ListenAt } from '../../config/held-listeners.js'
import type { Logger } from '../../config/logger.js'
import { isLoopback } from '../../config/loopback.js'
import { WaitingAnswers } from '../../config/waiting-answers.js'
import type { TokenCheck } from './access.js'
import { answer, answerUpgrade } from './answer.js'
import type { Route } from './route.js'
import { makeRouter } from './router.js'
import { UnderWay } from './under-way.js'

class AgentApiListenError extends DiscobotError {
  readonly code = 'AGENT_API_LISTEN_FAILED'
}

interface AgentApiOptions {
  /** An IP address; loopback unless somebody decided otherwise. */
  readonly host: string
  /** 0 asks the kernel for a free one. */
  readonly port: number
  /** Binds for itself unless given. */
  readonly listenAt?: ListenAt
  readonly routes: readonly Route[]
  /** Absent: everybody who can connect may ask, which only loopback allows. */
  readonly token?: TokenCheck
  /** For the head of a request. */
  readonly clientTimeoutMs: number
  readonly logger: Logger
}

export interface AgentApi {
  readonly port: number
  /**
   * Refuses new connections, ends what streams, lets other answers under way end for `graceMs`, and resolves when
   * all are closed and nothing that a request started is left.
   */
  close(graceMs: number): Promise<void>
}

/** Far more than people and agents of one container need, far less than the 1,024 descriptors a process may have. */
const MAX_CONNECTIONS = 256
/** How often Node looks for heads that take too long; its own half minute would be their real limit. */
const CHECK_INTERVAL_MS = 2_000
/** A client that is gone without a word, on a machine that is gone too. */
const KEEP_ALIVE_PROBE_MS = 30_000

/**
 * Serves `routes` over HTTP/1.1.
 *
 * @throws AgentApiListenError when the address cannot be listened on, or must not be without a token.
 */
export async function startAgentApi(options: AgentApiOptions): Promise<AgentApi> {
  const { host, port: wanted, token, clientTimeoutMs, logger } = options
  if (token === undefined && !isLoopback(host)) {
    const reason = 'beyond loopback it takes a token; set DISCOBOT_API_TOKEN'
    throw new AgentApiListenError(`cannot listen on ${host}:${wanted}: ${reason}`)
  }
  const underWay = new UnderWay()
  const service = { ...options, router: makeRouter(options.routes) }
  const waiting = new WaitingAnswers()
  const serve = entry(
    { name: 'agent API', logger, ends: ({ socket }) => socket },
    (request: IncomingMessage, response: ServerResponse) => {
      waiting.note(request, response)
      return underWay.add((leave) => answer(service, request, response, leave))
    },
  )
  const server = createServer(
    {
      headersTimeout: clientTimeoutMs,
      // Bodies have limits of their own: a large file takes what it takes as long as it moves.
      requestTimeout: 0,
      connectionsCheckingInterval: CHECK_INTERVAL_MS,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_PROBE_MS,
      // Refused with every other Host that is not ours.
      requireHostHeader: false,
    },
    serve,
  )
  server.maxConnections = MAX_CONNECTIONS
  // Node would answer by itself, and nobody but Node would know that an answer is under way.
  server.on('checkExpectation', serve)
  server.on(
    'upgrade',
    entry(
      { name: 'agent API: upgrade', logger, ends: ({ socket }) => socket },
      (request: IncomingMessage, _socket: Duplex, head: Buffer) =>
        underWay.add((leave) => answerUpgrade(service, request, head, leave)),
    ),
  )
  const idle = trackIdle(server, logger)
  const port = await listen(server, host, wanted, options.listenAt ?? bindItself)
  return { port, close: (graceMs) => close(server, idle, underWay, graceMs) }
}

function listen(server: Server, host: string, port: number, at: ListenAt): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      const reason = codeOf(error) === 'EADDRINUSE' ? 'the port is in use' : error.message
      reject(new AgentApiListenError(`cannot listen on ${host}:${port}: ${reason}`, { cause: error }))
    })
    server.listen(at(host, port), () => {
      const address = server.address()
      resolve(typeof address === 'object' && address !== null ? address.port : port)
    })
  })
}

/** Connections without a request under way. Node's own list leaves out those that never sent one. */
function trackIdle(server: Server, logger: Logger): ReadonlySet<Socket> {
  const idle = new Set<Socket>()
  const whose = { name: 'agent API', logger }
  server.on(
    'connection',
    entry({ ...whose, ends: (socket) => socket }, (socket: Socket) => {
      idle.add(socket)
      socket.once('close', () => idle.delete(socket))
    }),
  )
  const busy = entry(
    { ...whose, ends: ({ socket }) => socket },
    ({ socket }: IncomingMessage, response: ServerResponse) => {
      idle.delete(socket)
      response.once('close', () => {
        if (socket.destroyed) return
        if (server.listening) idle.add(socket)
        else socket.destroySoon()
      })
    },
  )
  server.on('request', busy)
  server.on('checkExpectation', busy)
  // Not a connection of the server's any more.
  server.on(
    'upgrade',
    entry(
      { ...whose, ends: ({ socket }) => socket },
      ({ socket }: IncomingMessage) => void idle.delete(socket),
    ),
  )
  return idle
}

async function close(
  server: Server,
  idle: ReadonlySet<Socket>,
  underWay: UnderWay,
  graceMs: number,
): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  for (const socket of idle) socket.destroy()
  const timer = setTimeout(() => server.closeAllConnections(), graceMs)
  await Promise.all([underWay.stop(), closed])
  clearTimeout(timer)
}
