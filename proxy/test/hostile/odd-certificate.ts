import {
  X509Certificate,
  createHash,
  createPrivateKey,
  generateKeyPairSync,
  sign,
  type KeyObject,
} from 'node:crypto'
import type { Authority } from '../../tls/authority.js'
import { positiveSerial } from '../../tls/authority.js'
import { bitString, context, elements, encode, integer, oid, sequence, TAG, time } from '../../tls/der.js'

const DAY_MS = 24 * 60 * 60 * 1000
const OCSP_SIGNING = '1.3.6.1.5.5.7.3.9'

/** Names in a certificate (RFC 5280, 4.2.1.6); texts are written as they are, byte for byte. */
export const NAME = {
  email: (text: string) => context(1, false, Buffer.from(text, 'latin1')),
  dns: (text: string) => context(2, false, Buffer.from(text, 'latin1')),
  uri: (text: string) => context(6, false, Buffer.from(text, 'latin1')),
  address: (...bytes: number[]) => context(7, false, Buffer.from(bytes)),
} as const

export interface Oddities {
  readonly commonName?: string
  /** Absent: no alternative names at all. */
  readonly names?: readonly Buffer[]
  /** Days from now. */
  readonly from?: number
  readonly until?: number
  /** Good for signing OCSP answers instead of serving TLS. */
  readonly otherUse?: boolean
  readonly sha1?: boolean
  readonly key?: { readonly publicKey: KeyObject; readonly privateKey: KeyObject }
  readonly selfSigned?: boolean
  /** It may sign others, for hosts below this domain only. */
  readonly authorityFor?: string
  /** A critical extension that nobody knows. */
  readonly unknownCritical?: boolean
}

export interface OddCertificate extends Authority {
  readonly certPem: string
  readonly keyPem: string
}

/** A certificate as no decent authority would make it, signed by `issuer`. */
export function oddCertificate(issuer: Authority, odd: Oddities): OddCertificate {
  const key = odd.key ?? generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const signer = odd.selfSigned === true ? key.privateKey : createPrivateKey(issuer.keyPem)
  const { digest, algorithm } = signature(signer, odd.sha1 === true)
  const subject = subjectOf(odd.commonName)
  const body = sequence(
    context(0, true, integer(Buffer.from([2]))),
    integer(positiveSerial()),
    algorithm,
    odd.selfSigned === true ? subject : subjectIn(issuer.certPem),
    sequence(time(Date.now() + (odd.from ?? -1) * DAY_MS), time(Date.now() + (odd.until ?? 1) * DAY_MS)),
    subject,
    key.publicKey.export({ type: 'spki', format: 'der' }),
    context(3, true, sequence(...extensionsOf(odd, key.publicKey))),
  )
  const der = sequence(body, algorithm, bitString(sign(digest, body, signer)))
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return {
    certPem: `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`,
    keyPem: key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  }
}

function signature(key: KeyObject, sha1: boolean): { readonly digest: string; readonly algorithm: Buffer } {
  const digest = sha1 ? 'sha1' : 'sha256'
  if (key.asymmetricKeyType === 'rsa') {
    const id = oid(sha1 ? '1.2.840.113549.1.1.5' : '1.2.840.113549.1.1.11')
    return { digest, algorithm: sequence(id, Buffer.from([0x05, 0x00])) }
  }
  return { digest, algorithm: sequence(oid(sha1 ? '1.2.840.10045.4.1' : '1.2.840.10045.4.3.2')) }
}

function subjectOf(commonName: string | undefined): Buffer {
  if (commonName === undefined) return sequence()
  const name = sequence(oid('2.5.4.3'), encode(TAG.utf8String, Buffer.from(commonName, 'latin1')))
  return sequence(encode(TAG.set, name))
}

function subjectIn(certPem: string): Buffer {
  const whole = elements(new X509Certificate(certPem).raw)[0]?.content ?? Buffer.alloc(0)
  return elements(elements(whole)[0]?.content ?? Buffer.alloc(0))[5]?.whole ?? Buffer.alloc(0)
}

function extensionsOf(odd: Oddities, publicKey: KeyObject): Buffer[] {
  const critical = encode(TAG.boolean, Buffer.from([0xff]))
  const value = (content: Buffer): Buffer => encode(TAG.octetString, content)
  const keyId = createHash('sha1')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest()
  const extensions = [sequence(oid('2.5.29.14'), value(encode(TAG.octetString, keyId)))]
  if (odd.authorityFor !== undefined) {
    extensions.push(sequence(oid('2.5.29.19'), critical, value(sequence(critical))))
    const permitted = context(0, true, sequence(NAME.dns(odd.authorityFor)))
    extensions.push(sequence(oid('2.5.29.30'), critical, value(sequence(permitted))))
  }
  if (odd.otherUse === true) extensions.push(sequence(oid('2.5.29.37'), value(sequence(oid(OCSP_SIGNING)))))
  if (odd.names !== undefined) extensions.push(sequence(oid('2.5.29.17'), value(sequence(...odd.names))))
  if (odd.unknownCritical === true)
    extensions.push(sequence(oid('1.3.6.1.4.1.99999.1'), critical, value(sequence())))
  return extensions
}
