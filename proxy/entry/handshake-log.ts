import { codeOf } from '../../base/errors.js'
import type { Logger } from '../../base/log/logger.js'

const DISTRUST = 'the client does not trust our CA; install it there, or list the host in tls.passthrough'

/**
 * Said of a client that leaves without a word. Node's clients, npm among them, do so when they do not trust a certificate; Go's and
 * browsers do when they have opened a connection that they do not need. Only the client knows.
 */
const PERHAPS =
  'if the client complains of the certificate, install our CA there, or list the host in tls.passthrough'

const LEFT = { problem: 'the client left in the middle of the handshake', hint: PERHAPS }

/** A client that closes later has kept the connection for a request that did not come. */
const SPARE_MS = 2_000

/**
 * RFC 8446, 6.2: the alerts by which a client says that it does not trust our CA, or pins its own. Nothing else says so.
 * Go's clients cause a reset when they close before they have read our session tickets, and a connection that a client
 * opened and did not need ends without a request.
 */
const DISTRUSTING_ALERT = /ALERT_(?:UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_UNKNOWN)$/
/** OpenSSL names each alert that it receives so. */
const ALERT = /_ALERT_/

/** Tells how one handshake with a client has failed, or that nothing came of it; once. */
export class HandshakeLog {
  readonly #logger: Logger
  readonly #host: string
  readonly #began: number
  #told = false

  /** @param host of whom the client wants a certificate, as `name:port`. */
  constructor(logger: Logger, host: string) {
    this.#logger = logger
    this.#host = host
    this.#began = performance.now()
  }

  /** @param done whether the handshake was over for us. In TLS 1.3 a client may look at the certificate then. */
  failed(error: unknown, done: boolean): void {
    const code = codeOf(error)
    const alert = code !== undefined && ALERT.test(code)
    if (alert && DISTRUSTING_ALERT.test(code)) this.#tell({ code, hint: DISTRUST }, 'TLS refused')
    else if (alert && !done) this.#tell({ code }, 'TLS refused')
    else if (!done && code === 'ECONNRESET') this.#tell({ code, ...LEFT }, 'TLS failed')
    else if (!done) this.#tell({ code }, 'TLS failed')
  }

  late(): void {
    this.#tell({ problem: 'the client took longer than timeouts.headers' }, 'TLS failed')
  }

  /** @param spoke whether anything came over TLS. */
  closed(done: boolean, spoke: boolean): void {
    if (!done) this.#tell(LEFT, 'TLS failed')
    else if (!spoke && performance.now() - this.#began < SPARE_MS)
      this.#tell({ problem: 'the client left without a request', hint: PERHAPS }, 'TLS closed')
  }

  #tell(fields: object, message: string): void {
    if (this.#told) return
    this.#told = true
    this.#logger.info({ host: this.#host, ...fields }, message)
  }
}
