import { openSecure } from '../client/secure-socket.js'
import { destination, type Subject } from './measure.js'

/**
 * From connecting to the end of the TLS handshake, CONNECT included, with hosts the peer never heard of, one
 * after the other.
 */
export async function measureHandshakes(subject: Subject, hosts: readonly string[]): Promise<void> {
  for (const host of hosts) {
    const started = performance.now()
    const socket = await openSecure(destination(subject, host))
    subject.add('handshake', performance.now() - started)
    socket.destroy()
  }
}
