import { readFileSync } from 'node:fs'
import { constants } from 'node:crypto'
import { createSecureContext, rootCertificates, type SecureContext } from 'node:tls'
import { DiscobotError, codeOf, reasonOf } from '../../base/errors.js'
import type { Logger } from '../../base/log/logger.js'

/** A file of `tls.upstream_ca` cannot be used: going on would leave its hosts unreachable without a reason. */
class UpstreamCaError extends DiscobotError {
  override readonly code = 'UPSTREAM_CA_UNUSABLE'
}

/** The system's list, where distributions keep it: Debian and Alpine, Fedora, openSUSE. */
const SYSTEM_BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/ca-bundle.pem',
]

/**
 * The TLS context every upstream connection is verified with: the system's list and the operator's own CAs,
 * never our own CA, which signs for clients only.
 *
 * Made once, by the first connection that asks for it: parsing 140 certificates takes about 20 ms, which no start
 * has to wait for. The operator's own are read at once, so that what is wrong with them is told.
 *
 * @throws UpstreamCaError naming the file that cannot be read or parsed.
 */
export function createUpstreamTrust(
  extraFiles: readonly string[],
  ownCaPem: string,
  logger: Logger,
): SecureContext {
  const extra = extraFiles.flatMap((file) => certificatesIn(file))
  let made: SecureContext | undefined
  return {
    // All that tls.connect reads of a context.
    get context(): unknown {
      if (made === undefined) {
        const own = ownCaPem.replace(/\s/g, '')
        const system = systemCertificates(logger).filter((pem) => pem.replace(/\s/g, '') !== own)
        made = upstreamContext([...system, ...extra])
      }
      return made.context as unknown
    },
  }
}

/** What upstream connections are made with. @param ca PEM certificates of those who may sign for servers. */
export function upstreamContext(ca: readonly string[]): SecureContext {
  return createSecureContext({
    ca: [...ca],
    minVersion: 'TLSv1.2',
    // RFC 9325, 3.5: nobody needs it, and Node would do a handshake as often as a server asks for one.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
  })
}

function systemCertificates(logger: Logger): readonly string[] {
  for (const file of SYSTEM_BUNDLES) {
    try {
      return splitPem(readFileSync(file, 'utf8'))
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') {
        logger.warn({ file, reason: reasonOf(error) }, "cannot read the system's certificates")
      }
    }
  }
  logger.warn({}, "the system has no list of certificates; trusting Node's own for upstream servers")
  return rootCertificates
}

function certificatesIn(file: string): readonly string[] {
  let found: readonly string[]
  try {
    found = splitPem(readFileSync(file, 'utf8'))
    createSecureContext({ ca: [...found] })
  } catch (error) {
    throw new UpstreamCaError(`cannot use tls.upstream_ca file ${file}: ${reasonOf(error)}`, { cause: error })
  }
  if (found.length === 0) {
    throw new UpstreamCaError(`cannot use tls.upstream_ca file ${file}: it holds no PEM certificate`)
  }
  return found
}

function splitPem(text: string): readonly string[] {
  return text.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? []
}
