import { optional } from './keys.js'
import { timeLimit } from './values.js'

export const timeoutsKeys = {
  connect: optional(timeLimit, 'Time for a connection to upstream, TLS included.'),
  headers: optional(
    timeLimit,
    'Time for a client to say what it wants: first byte, handshakes, request head.',
  ),
  idle: optional(timeLimit, 'Time for which nothing may come or go, in a request, an answer or a tunnel.'),
  keep_alive: optional(timeLimit, 'Time for which a connection of a client is kept for its next request.'),
}
