import { Transform } from 'node:stream'
import { tunnelProtocol, type TunnelProtocol } from './tunnel-protocol.js'

/**
 * Lets the first words of a client through to a server that waits for them, though they do not tell yet what they
 * are: git://, XMPP and others end no line. Should they become an HTTP request after all, the bytes that make them
 * one are kept back, and the stream fails.
 */
export function openingGuard(): Transform {
  let seen = Buffer.alloc(0)
  let protocol: TunnelProtocol | undefined
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      if (protocol === undefined) {
        seen = Buffer.concat([seen, chunk])
        protocol = tunnelProtocol(seen)
        if (protocol !== undefined) seen = Buffer.alloc(0)
      }
      if (protocol === undefined || protocol === 'raw') done(null, chunk)
      else done(new Error('cannot pass bytes on: they became an HTTP request'))
    },
  })
}
