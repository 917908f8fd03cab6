import type { IncomingMessage } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { MAX_CONFIG_BYTES } from '../../config/config-texts.js'
import { refuse } from './routes.js'

/** A configuration is the largest thing anybody sends here. */
const MAX_BODY_BYTES = MAX_CONFIG_BYTES
/** It comes from this machine, in one piece. */
const BODY_LIMIT_MS = 10_000
/** A client that was told no has this long to finish what it is saying. */
const DISCARD_LIMIT_MS = 500

/**
 * The text of a request's body, whose media type must be one of `types`. An HTML form can send none of those that
 * are in use here, so no page can post to us without asking first, and asking is refused.
 *
 * @throws ReplyError
 */
export async function readBody(
  request: IncomingMessage,
  types: readonly string[],
  limitMs = BODY_LIMIT_MS,
): Promise<string> {
  requireType(request, types)
  if (Number(request.headers['content-length'] ?? 0) > MAX_BODY_BYTES) tooLarge()
  const bytes = await Promise.race([collect(request), sleep(limitMs, undefined, { ref: false })])
  if (bytes === undefined) refuse(408, `cannot read the body: it took longer than ${limitMs / 1000} s`)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    refuse(400, 'cannot read the body: it is not UTF-8 text')
  }
}

async function collect(request: IncomingMessage): Promise<Buffer> {
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
  return Buffer.concat(pieces)
}

/** An HTML form can send none of `types`. @throws ReplyError */
export function requireType(request: IncomingMessage, types: readonly string[]): void {
  const type = mediaType(request)
  if (!types.includes(type)) refuse(415, `cannot read ${type}; send ${types.join(' or ')}`)
  if (request.headers['content-encoding'] !== undefined) refuse(415, 'cannot read an encoded body')
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
