import { ServerResponse, type IncomingMessage } from 'node:http'
import { admit, answerFailure, exchangeOf, type Service } from './answer.js'
import { refuse } from './problem.js'
import type { LeaveReason } from './route.js'
import { takeOver } from './take-over.js'

/** As `answer`, but the connection is to be handed over if the route does that. */
export async function answerUpgrade(
  service: Service,
  request: IncomingMessage,
  head: Buffer,
  leave: AbortController,
): Promise<void> {
  const { socket } = request
  socket.on('error', () => {})
  if (!(await takeOver(socket, () => socket.destroy()))) return
  socket.once('close', () => leave.abort('client-left' satisfies LeaveReason))
  // RFC 9110 section 7.8: an upgrade may be ignored. Node takes the parser away, so the answer is the last one.
  const response = new ServerResponse(request)
  response.shouldKeepAlive = false
  const attach = (): void => {
    response.assignSocket(socket)
    response.once('finish', () => socket.end())
  }
  try {
    const match = await admit(service, request)
    const { route } = match
    const isWebSocket = request.headers.upgrade?.toLowerCase() === 'websocket'
    if (isWebSocket && route.upgrade !== undefined) {
      const exchange = exchangeOf(service, match, request, response, leave.signal)
      await route.upgrade({ ...exchange, socket, head })
      return
    }
    if (request.headers['content-length'] !== undefined || request.headers['transfer-encoding'] !== undefined)
      refuse(400, 'a request for another protocol must have no body')
    attach()
    await route.handle(exchangeOf(service, match, request, response, leave.signal))
  } catch (error) {
    if (response.socket === null && !socket.destroyed) attach()
    await answerFailure(service, request, response, leave.signal, error)
  }
}
