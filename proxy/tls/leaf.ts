import {
  X509Certificate,
  createHash,
  createPrivateKey,
  generateKeyPair,
  generateKeyPairSync,
  sign,
  type KeyObject,
} from 'node:crypto'
import { isIP } from 'node:net'
import { promisify } from 'node:util'
import { positiveSerial, type Authority } from './authority.js'
import { TAG, bitString, context, elements, encode, integer, oid, sequence, time } from './der.js'

const HOUR_MS = 60 * 60 * 1000
export const LEAF_VALID_MS = 7 * 24 * HOUR_MS
/** Clients whose clock is behind would refuse a certificate that begins now. */
const BACKDATED_MS = HOUR_MS
/** RFC 5280, appendix A: ub-common-name. */
const MAX_COMMON_NAME = 64
/** What public CAs ask for at least, and old clients take. */
const RSA_BITS = 2048
/** RFC 5280, 4.2.1.3: digitalSignature, and for RSA keyEncipherment, by which clients without ECDHE send their secret. */
const KEY_USAGE = { ec: bitString(Buffer.from([0x80]), 7), rsa: bitString(Buffer.from([0xa0]), 5) }

const OID = {
  commonName: '2.5.4.3',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyIdentifier: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  sha256WithRsa: '1.2.840.113549.1.1.11',
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
} as const

interface LeafIssuer {
  /** PKCS#8 PEM of the one key all leaves share. */
  readonly keyPem: string
  /** PEM of a certificate for `host`, a canonical DNS name or an IP address without brackets. */
  issue(host: string): string
}

export interface LeafKey {
  readonly publicKey: KeyObject
  readonly privateKey: KeyObject
}

/** The key that all leaves of a process share; it is never written anywhere. */
export function generateLeafKey(): LeafKey {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' })
}

/** The same for clients that take RSA certificates only. */
export function generateRsaLeafKey(): Promise<LeafKey> {
  return promisify(generateKeyPair)('rsa', { modulusLength: RSA_BITS })
}

/**
 * Issues leaf certificates under `authority`: P-256 unless told otherwise, one shared key, 7 days, backdated an hour, never beyond
 * the CA's own end.
 */
export function createLeafIssuer(
  authority: Authority,
  now: () => number,
  leaf: LeafKey = generateLeafKey(),
): LeafIssuer {
  const caKey = createPrivateKey(authority.keyPem)
  const ca = describeCa(new X509Certificate(authority.certPem))
  const publicKey = leaf.publicKey.export({ type: 'spki', format: 'der' })
  const keyId = createHash('sha1').update(publicKey).digest()
  const algorithm = signatureAlgorithm(caKey)
  const usage = leaf.publicKey.asymmetricKeyType === 'rsa' ? KEY_USAGE.rsa : KEY_USAGE.ec

  return {
    keyPem: leaf.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    issue(host) {
      const from = now() - BACKDATED_MS
      const until = Math.min(now() + LEAF_VALID_MS, ca.validToMs)
      const body = sequence(
        context(0, true, integer(Buffer.from([2]))),
        integer(positiveSerial()),
        algorithm,
        ca.subject,
        sequence(time(from), time(until)),
        subjectOf(host),
        publicKey,
        context(3, true, sequence(...extensionsOf(host, usage, keyId, ca.keyId))),
      )
      return toPem(sequence(body, algorithm, bitString(sign('sha256', body, caKey))))
    },
  }
}

interface CaDescription {
  /** Byte for byte as in the CA's own certificate: issuer and subject are compared as bytes. */
  readonly subject: Buffer
  readonly keyId: Buffer | undefined
  readonly validToMs: number
}

function describeCa(cert: X509Certificate): CaDescription {
  const fields = elements(
    elements(elements(cert.raw)[0]?.content ?? Buffer.alloc(0))[0]?.content ?? Buffer.alloc(0),
  )
  // TBSCertificate: [version], serial, signature, issuer, validity, subject, …; RFC 5280, 4.1.
  const subject = fields[fields[0]?.tag === 0xa0 ? 5 : 4]?.whole ?? Buffer.alloc(0)
  const extensions = fields.find((field) => field.tag === 0xa3)
  return { subject, keyId: keyIdOf(extensions?.content), validToMs: Date.parse(cert.validTo) }
}

function keyIdOf(extensions: Buffer | undefined): Buffer | undefined {
  if (extensions === undefined) return undefined
  const wanted = oid(OID.subjectKeyIdentifier)
  for (const extension of elements(elements(extensions)[0]?.content ?? Buffer.alloc(0))) {
    const [id, ...rest] = elements(extension.content)
    if (id === undefined || !id.whole.equals(wanted)) continue
    return elements(rest.at(-1)?.content ?? Buffer.alloc(0))[0]?.content
  }
  return undefined
}

function signatureAlgorithm(key: KeyObject): Buffer {
  return key.asymmetricKeyType === 'rsa'
    ? sequence(oid(OID.sha256WithRsa), Buffer.from([0x05, 0x00]))
    : sequence(oid(OID.ecdsaWithSha256))
}

/** Empty where the name is too long for a common name; the alternative name then carries it alone. */
function subjectOf(host: string): Buffer {
  if (host.length > MAX_COMMON_NAME) return sequence()
  const name = sequence(oid(OID.commonName), encode(TAG.utf8String, Buffer.from(host)))
  return sequence(encode(TAG.set, name))
}

function extensionsOf(host: string, usage: Buffer, keyId: Buffer, caKeyId: Buffer | undefined): Buffer[] {
  const critical = encode(TAG.boolean, Buffer.from([0xff]))
  const value = (content: Buffer): Buffer => encode(TAG.octetString, content)
  const extensions = [
    sequence(oid(OID.basicConstraints), critical, value(sequence())),
    sequence(oid(OID.keyUsage), critical, value(usage)),
    sequence(oid(OID.extendedKeyUsage), value(sequence(oid(OID.serverAuth)))),
    sequence(oid(OID.subjectKeyIdentifier), value(encode(TAG.octetString, keyId))),
    // RFC 5280, 4.2.1.6: critical when the subject is empty.
    ...(host.length > MAX_COMMON_NAME
      ? [sequence(oid(OID.subjectAltName), critical, value(alternativeName(host)))]
      : [sequence(oid(OID.subjectAltName), value(alternativeName(host)))]),
  ]
  if (caKeyId !== undefined) {
    extensions.push(sequence(oid(OID.authorityKeyIdentifier), value(sequence(context(0, false, caKeyId)))))
  }
  return extensions
}

function alternativeName(host: string): Buffer {
  return sequence(
    isIP(host) === 0 ? context(2, false, Buffer.from(host, 'ascii')) : context(7, false, addressBytes(host)),
  )
}

function addressBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number))
  const [head = '', tail] = address.split('::')
  const groups = (text: string): string[] => (text === '' ? [] : text.split(':'))
  const before = groups(head)
  const after = tail === undefined ? [] : groups(tail)
  const middle = Array<string>(8 - before.length - after.length).fill('0')
  const bytes = Buffer.alloc(16)
  for (const [index, group] of [...before, ...middle, ...after].entries()) {
    bytes.writeUInt16BE(Number.parseInt(group, 16), index * 2)
  }
  return bytes
}

function toPem(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}
