import { X509Certificate } from 'node:crypto'
import { basename, dirname, join } from 'node:path'
import { readdir, readlink, symlink } from '../../base/files/files-at-once.js'
import { codeOf } from '../../base/errors.js'
import { ensureFile, readIfPresent } from './atomic-file.js'
import { addToJavaStore, JAVA_HOOK } from './java-trust-store.js'

/** `openssl x509 -subject_hash` of the one subject our CA ever has; a test computes it anew. */
const OUR_SUBJECT = 'O=Discobot Proxy\nCN=Discobot Proxy CA'
export const OUR_SUBJECT_HASH = '86bfee61'

/** Programs other than the tool itself keep stores of their own by these. Java's is one that we can do without. */
const HOOKS = '/etc/ca-certificates/update.d'

interface NewCertificate {
  readonly pem: string
  /** Where the administrator's certificates are; ours is there already, for the tool's next run. */
  readonly anchor: string
  /** What the tool would write. */
  readonly bundle: string
  /** Prefix of the file system to work on; empty for ours. */
  readonly root: string
}

/**
 * Does to Debian's certificate folder what update-ca-certificates would: the bundle gets our certificate, and
 * the folder the two links that OpenSSL looks it up by. The tool takes 0.7–3 s for it, in which a container that
 * starts from its image every time has nothing else to wait for.
 *
 * @returns where it was added; undefined where the tool would do more than that: for a certificate that is not
 *   our own CA's, where others have hooks, or where there is no bundle yet. The tool may follow on whatever was done.
 */
export async function addToCertificateFolder(certificate: NewCertificate): Promise<string | undefined> {
  const { pem, anchor, bundle, root } = certificate
  const hooks = await readdir(join(root, HOOKS)).catch(() => [])
  if (!isOurs(pem) || hooks.some((name) => name !== JAVA_HOOK)) return undefined
  const before = await readIfPresent(bundle)
  if (before === undefined || before.trim() === '') return undefined
  const folder = dirname(bundle)
  const link = `${basename(anchor, '.crt')}.pem`
  const java = hooks.length === 0 ? 'off' : await addToJavaStore(pem, link, root)
  if (java === 'unknown') return undefined
  await ensureLink(join(folder, link), anchor)
  await linkByHash(folder, link)
  await ensureFile(bundle, `${before.trimEnd()}\n${pem.trimEnd()}\n`, { mode: 0o644 })
  return java === 'added' ? `${bundle} and Java's store` : bundle
}

function isOurs(pem: string): boolean {
  try {
    return new X509Certificate(pem).subject === OUR_SUBJECT
  } catch {
    return false
  }
}

/** The first free number: certificates of one subject differ by it (c_rehash(1)). */
async function linkByHash(folder: string, target: string): Promise<void> {
  for (let number = 0; ; number += 1) {
    const path = join(folder, `${OUR_SUBJECT_HASH}.${number}`)
    const present = await readlink(path).catch(() => undefined)
    if (present === target) return
    if (present === undefined && (await ensureLink(path, target))) return
  }
}

/** @returns whether the link is there and is this one. */
async function ensureLink(path: string, target: string): Promise<boolean> {
  try {
    await symlink(target, path)
    return true
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error
    return (await readlink(path).catch(() => undefined)) === target
  }
}
