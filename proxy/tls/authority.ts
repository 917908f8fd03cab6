import { X509Certificate, createPrivateKey, randomBytes, type KeyObject } from 'node:crypto'
import { mkdir, open, rename, rm, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { chmod, readFile, stat } from '../../base/files/files-at-once.js'
import { DiscobotError, codeOf, reasonOf } from '../../base/errors.js'

const DAY_MS = 24 * 60 * 60 * 1000
const VALID_YEARS = 10
/** Renewed this early, so that a container that runs for weeks never outlives its CA. */
const MIN_REMAINING_MS = 30 * DAY_MS

/** The CA can neither be used nor made anew: without it nothing can be intercepted. */
export class AuthorityError extends DiscobotError {
  override readonly code = 'CA_UNUSABLE'
}

export interface Authority {
  readonly certPem: string
  readonly keyPem: string
}

export interface EnsuredAuthority extends Authority {
  readonly created: boolean
  /** Why a new pair was made: "none was there", "the key does not match the certificate", … */
  readonly reason?: string
}

export interface AuthorityOptions {
  readonly certPath: string
  readonly keyPath: string
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

/**
 * The CA pair on disk, made anew unless the one there can be used: both files readable, certificate and key
 * belonging together, a CA, and 30 days left. A pair that had to be replaced is kept beside the new one as
 * `*.previous`. The key is 0600 in a folder of 0700; both files appear whole or not at all.
 *
 * @throws AuthorityError when no pair can be written.
 */
export async function ensureAuthority(options: AuthorityOptions): Promise<EnsuredAuthority> {
  const found = await readAuthority(options)
  if ('authority' in found) return { ...found.authority, created: false }
  const fresh = await createAuthority(options.now())
  try {
    await writePair(options, fresh)
  } catch (error) {
    throw new AuthorityError(`cannot write the CA to ${dirname(options.certPath)}: ${reasonOf(error)}`, {
      cause: error,
    })
  }
  return { ...fresh, created: true, reason: found.unusable }
}

type Found = { readonly authority: Authority } | { readonly unusable: string }

async function readAuthority({ certPath, keyPath, now }: AuthorityOptions): Promise<Found> {
  const cert = await readOrReason(certPath)
  const key = await readOrReason(keyPath)
  if (cert.missing && key.missing) return { unusable: 'none was there' }
  if (cert.text === undefined) return { unusable: `cannot read ${certPath}: ${cert.reason}` }
  if (key.text === undefined) return { unusable: `cannot read ${keyPath}: ${key.reason}` }
  const unusable = whyUnusable(cert.text, key.text, now())
  if (unusable !== undefined) return { unusable }
  await settleMode(keyPath, 0o077, 0o600)
  await settleMode(certPath, 0, 0o644)
  return { authority: { certPem: cert.text, keyPem: key.text } }
}

interface ReadResult {
  readonly text?: string
  readonly missing: boolean
  readonly reason: string
}

async function readOrReason(path: string): Promise<ReadResult> {
  try {
    return { text: await readFile(path, 'utf8'), missing: false, reason: '' }
  } catch (error) {
    return { missing: codeOf(error) === 'ENOENT', reason: codeOf(error) ?? reasonOf(error) }
  }
}

function whyUnusable(certPem: string, keyPem: string, now: number): string | undefined {
  let cert: X509Certificate
  let key: KeyObject
  try {
    cert = new X509Certificate(certPem)
  } catch {
    return 'the certificate is not valid PEM'
  }
  try {
    key = createPrivateKey(keyPem)
  } catch {
    return 'the key is not a valid unencrypted PEM private key'
  }
  if (!cert.checkPrivateKey(key)) return 'the key does not match the certificate'
  if (!cert.ca) return 'the certificate is not a CA'
  if (Date.parse(cert.validFrom) > now) return `the certificate is not valid before ${cert.validFrom}`
  if (Date.parse(cert.validTo) - now < MIN_REMAINING_MS) return `the certificate ends on ${cert.validTo}`
  return undefined
}

/**
 * A key that was copied in by hand is often readable by all; and one that root can read and its owner cannot
 * would be found unusable by the proxy, and replaced, after the certificate went into the trust store.
 */
async function settleMode(path: string, forbidden: number, mode: number): Promise<void> {
  const found = await stat(path)
  if ((found.mode & forbidden) !== 0 || (found.mode & 0o400) === 0) await chmod(path, mode)
}

async function createAuthority(now: number): Promise<Authority> {
  // Loaded only here: it costs 55 ms, and a warm boot makes no CA.
  const { default: forge } = await import('node-forge')
  const keys = await new Promise<import('node-forge').pki.rsa.KeyPair>((resolve, reject) => {
    forge.pki.rsa.generateKeyPair({ bits: 2048 }, (error: Error | null, pair) =>
      error === null ? resolve(pair) : reject(error),
    )
  })
  const cert = forge.pki.createCertificate()
  cert.publicKey = keys.publicKey
  cert.serialNumber = positiveSerial().toString('hex')
  // Backdated by a day: clients whose clock is behind would otherwise refuse everything.
  cert.validity.notBefore = new Date(now - DAY_MS)
  cert.validity.notAfter = new Date(now)
  cert.validity.notAfter.setFullYear(cert.validity.notAfter.getFullYear() + VALID_YEARS)
  const name = [
    { name: 'organizationName', value: 'Discobot Proxy' },
    { name: 'commonName', value: 'Discobot Proxy CA' },
  ]
  cert.setSubject(name)
  cert.setIssuer(name)
  cert.setExtensions([
    { name: 'basicConstraints', cA: true, pathLenConstraint: 0, critical: true },
    { name: 'keyUsage', keyCertSign: true, cRLSign: true, critical: true },
    { name: 'subjectKeyIdentifier' },
    {
      name: 'subjectAltName',
      altNames: [
        { type: 2, value: 'localhost' },
        { type: 7, ip: '127.0.0.1' },
        { type: 7, ip: '::1' },
      ],
    },
  ])
  cert.sign(keys.privateKey, forge.md.sha256.create())
  return {
    certPem: forge.pki.certificateToPem(cert),
    keyPem: forge.pki.privateKeyToPem(keys.privateKey),
  }
}

/** RFC 5280, 4.1.2.2: positive, at most 20 octets; 16 random ones with the sign bit clear. */
export function positiveSerial(): Buffer {
  const serial = randomBytes(16)
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40
  return serial
}

async function writePair({ certPath, keyPath }: AuthorityOptions, pair: Authority): Promise<void> {
  await makePrivateFolder(dirname(keyPath))
  await mkdir(dirname(certPath), { recursive: true })
  await keepPrevious(certPath)
  await keepPrevious(keyPath)
  // The key first: a crash in between leaves a pair that does not match, which the next start renews.
  await writeWhole(keyPath, pair.keyPem, 0o600)
  await writeWhole(certPath, pair.certPem, 0o644)
}

async function makePrivateFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 })
  await chmod(path, 0o700)
}

async function keepPrevious(path: string): Promise<void> {
  const previous = `${path}.previous`
  try {
    await rename(path, previous)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return
    // A container engine makes a folder where a file to be mounted is missing, and neither kind replaces the other.
    await rm(previous, { recursive: true, force: true })
    await rename(path, previous)
  }
}

async function writeWhole(path: string, text: string, mode: number): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`
  const file = await open(temporary, 'wx', mode)
  try {
    await file.writeFile(text)
    await file.sync()
  } catch (error) {
    await unlink(temporary)
    throw error
  } finally {
    await file.close()
  }
  await rename(temporary, path)
}
