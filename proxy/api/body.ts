import type { IncomingMessage } from 'node:http'
import { MAX_CONFIG_BYTES } from '../../config/load.js'
import { refuse } from './routes.js'

/** A configuration is the largest thing anybody sends here. */
const MAX_BODY_BYTES = MAX_CONFIG_BYTES
/** A client that was told no has this long to finish what it is saying. */
const DISCARD_LIMIT_MS = 500

/**
 * The text of a request's body, whose media type must be one of `types`. An HTML form can send none of those that
 * are in use here, so no page can post to us without asking first, and asking is refused.
 *
 * @throws ReplyError
 */
export async function readBody(request: IncomingMessage, types: readonly string[]): Promise<string> {
  const type = mediaType(request)
  if (!types.includes(type)) refuse(415, `cannot read ${type}; send ${types.join(' or ')}`)
  if (request.headers['content-encoding'] !== undefined) refuse(415, 'cannot read an encoded body')
  if (Number(request.headers['content-length'] ?? 0) > MAX_BODY_BYTES) tooLarge()
  const pieces: Buffer[] = []
  let length = 0
  try {
    for await (const piece of request.iterator({ destroyOnReturn: false })) {
      pieces.push(piece as Buffer)
      length += (piece as Buffer).length
      if (length > MAX_BODY_BYTES) break
    }
  } catch {
    refuse(400, 'cannot read the body: it broke off')
  }
  if (length > MAX_BODY_BYTES) tooLarge()
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(pieces))
  } catch {
    refuse(400, 'cannot read the body: it is not UTF-8 text')
  }
}

/** Lower case, without parameters. */
export function mediaType({ headers }: IncomingMessage): string {
  return (
    (headers['content-type'] ?? 'a body without Content-Type').split(';', 1)[0]?.trim().toLowerCase() ?? ''
  )
}

/** Reads the rest of a body for nobody. Resolves at its end, or when that takes too long or too much. */
export function discardBody(request: IncomingMessage): Promise<void> {
  return new Promise((resolve) => {
    let length = 0
    const done = (): void => {
      clearTimeout(timer)
      request.pause()
      resolve()
    }
    const timer = setTimeout(done, DISCARD_LIMIT_MS)
    request.once('close', done)
    request.once('end', done)
    request.on('data', (piece: Buffer) => {
      length += piece.length
      if (length > 2 * MAX_BODY_BYTES) done()
    })
  })
}

function tooLarge(): never {
  refuse(413, `cannot read the body: it is larger than ${MAX_BODY_BYTES} bytes`)
}
