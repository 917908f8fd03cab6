import { createHash, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { codeOf } from '../../base/errors.js'
import { readFile } from '../../base/files/files-at-once.js'
import { besides } from './held-folder.js'

/** Debian's hook: it has a JVM read and write the store, which takes a second or more. */
export const JAVA_HOOK = 'jks-keystore'
/** What that hook keeps up, for every Java of the system. */
const STORE = '/etc/ssl/certs/java/cacerts'
const SETTINGS = '/etc/default/cacerts'
/** Java's own, which Debian leaves: the store holds nothing secret, the password is a check sum's key. */
const PASSWORD = 'changeit'

/** The format "JKS", version 2: java.security.KeyStore in the JDK, JavaKeyStore.java. */
const MAGIC = 0xfeedfeed
const VERSION = 2
const TRUSTED_CERTIFICATE = 2
const DIGEST_BYTES = 20
/** Goes into the digest between password and content. */
const WHITENER = 'Mighty Aphrodite'

/**
 * Adds a certificate to the store of Debian's Javas as the hook would, without a JVM.
 *
 * @param name file name of the certificate in the folder beside it, by which the hook calls its entry.
 * @param root prefix of the file system to work on.
 * @returns `added`, `off` where the administrator wants no updates, or `unknown`, with nothing changed, where only the
 *   hook can do it.
 */
export async function addToJavaStore(
  pem: string,
  name: string,
  root: string,
): Promise<'added' | 'off' | 'unknown'> {
  const settings = await readFile(join(root, SETTINGS), 'utf8').catch(() => '')
  const updates = /^cacerts_updates=["']?(\w*)/m.exec(settings)?.[1]
  if (updates !== 'yes') return updates === undefined ? 'unknown' : 'off'
  const path = join(root, STORE)
  let before: Buffer
  try {
    before = readFileSync(path)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return 'unknown'
    throw error
  }
  const alias = `debian:${name.toLowerCase()}`
  const after = withCertificate(before, alias, new X509Certificate(pem).raw, Date.now())
  if (after === undefined) return 'unknown'
  if (after !== before) besides(path, (folder, file) => folder.write(file, after, { mode: 0o644 }))
  return 'added'
}

/** The store with one certificate more; undefined where it is none that we can read and check, or the alias is taken. */
export function withCertificate(
  store: Buffer,
  alias: string,
  certificate: Buffer,
  now: number,
): Buffer | undefined {
  const content = store.subarray(0, -DIGEST_BYTES)
  if (content.length < 12 || !digestOf([content]).equals(store.subarray(-DIGEST_BYTES))) return undefined
  if (content.readUInt32BE(0) !== MAGIC || content.readUInt32BE(4) !== VERSION) return undefined
  const count = content.readUInt32BE(8)
  const present = certificatesIn(content, count)
  if (present === undefined) return undefined
  const ours = present.get(alias)
  if (ours !== undefined) return ours.equals(certificate) ? store : undefined
  const head = Buffer.from(content.subarray(0, 12))
  head.writeUInt32BE(count + 1, 8)
  const parts = [
    head,
    content.subarray(12),
    uint32(TRUSTED_CERTIFICATE),
    text(alias),
    milliseconds(now),
    text('X.509'),
    uint32(certificate.length),
    certificate,
  ]
  return Buffer.concat([...parts, digestOf(parts)])
}

/** By alias. Undefined for a store that holds something else, or has more or less in it than it says. */
function certificatesIn(content: Buffer, count: number): ReadonlyMap<string, Buffer> | undefined {
  const found = new Map<string, Buffer>()
  let at = 12
  const take = (bytes: number): Buffer => {
    if (at + bytes > content.length) throw new RangeError('the store ends early')
    at += bytes
    return content.subarray(at - bytes, at)
  }
  const takeText = (): string => take(take(2).readUInt16BE(0)).toString('utf8')
  try {
    for (let entry = 0; entry < count; entry += 1) {
      if (take(4).readUInt32BE(0) !== TRUSTED_CERTIFICATE) return undefined
      const alias = takeText()
      take(8)
      takeText()
      found.set(alias, take(take(4).readUInt32BE(0)))
    }
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
  return at === content.length ? found : undefined
}

function digestOf(parts: readonly Buffer[]): Buffer {
  const hash = createHash('sha1').update(Buffer.from(PASSWORD, 'utf16le').swap16()).update(WHITENER)
  for (const part of parts) hash.update(part)
  return hash.digest()
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

function milliseconds(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(value))
  return bytes
}

/** As DataOutput.writeUTF does, for ASCII. */
function text(value: string): Buffer {
  const length = Buffer.alloc(2)
  length.writeUInt16BE(value.length)
  return Buffer.concat([length, Buffer.from(value, 'ascii')])
}
