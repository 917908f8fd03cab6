import { constants } from 'node:fs'
import { dirname, join } from 'node:path'
import { access, mkdir, readFile } from '../../../base/files/files-at-once.js'
import { codeOf, DiscobotError, reasonOf } from '../../../base/errors.js'
import type { DataPaths } from '../../../config/model/paths.js'
import type { Environment } from '../../settings/environment.js'
import type { Mode } from '../../settings/options.js'
import { ensureFile, readIfPresent } from '../../system/atomic-file.js'
import { addToCertificateFolder } from '../../system/certificate-folder.js'
import type { RunCommand } from '../../system/command.js'
import type { BootFindings, TrustFiles } from '../findings/findings.js'
import type { BootStep } from '../../status/step.js'

interface TrustStepDeps {
  readonly mode: Mode
  readonly data: DataPaths
  readonly inherited: Environment
  readonly run: RunCommand
  /** Prefix of the file system to work on; empty for ours. */
  readonly root: string
}

/** The system's trust store was left without our certificate; programs told by the environment trust it. */
export class TrustStoreError extends DiscobotError {
  readonly code = 'TRUST_STORE_UNCHANGED'
}

interface TrustStore {
  /** Where the administrator's certificates go. */
  readonly anchor: string
  readonly tool: string
  readonly arguments: readonly string[]
  /** What the tool writes. */
  readonly bundle: string
  /** A folder of links beside the bundle is all the tool keeps up besides. */
  readonly hasFolder: boolean
}

/** By the tool that is there and not by the distribution's name: derivatives keep the tool. */
const STORES: readonly TrustStore[] = [
  {
    // Debian, Ubuntu, Alpine.
    anchor: '/usr/local/share/ca-certificates/discobot-proxy-ca.crt',
    tool: '/usr/sbin/update-ca-certificates',
    arguments: [],
    bundle: '/etc/ssl/certs/ca-certificates.crt',
    hasFolder: true,
  },
  {
    // Fedora, RHEL, CentOS.
    anchor: '/etc/pki/ca-trust/source/anchors/discobot-proxy-ca.crt',
    tool: '/usr/bin/update-ca-trust',
    arguments: ['extract'],
    bundle: '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
    hasFolder: false,
  },
]

/** Where our certificate is put for the system, and the bundle it is to be found in then. */
export const TRUST_ANCHORS: readonly { readonly anchor: string; readonly bundle: string }[] = STORES

/** Where systems keep their certificates in one file. */
const SYSTEM_BUNDLES = [...STORES.map((store) => store.bundle), '/etc/ssl/ca-bundle.pem', '/etc/ssl/cert.pem']

/** Ten times what update-ca-certificates takes on a slow disk. */
const TIMEOUT_MS = 30_000

/** Afterwards `findings.trust` names files by which any program can trust the proxy. */
export function trustStep(deps: TrustStepDeps, findings: BootFindings): BootStep {
  return {
    name: 'trust',
    needs: ['ca'],
    timeoutMs: TIMEOUT_MS,
    onFailure: 'degrade',
    remedy:
      'have ca-certificates in the image; until then programs that ignore SSL_CERT_FILE do not trust the proxy',
    run: async (signal) => {
      // In a folder of the proxy's: a link there could lead to what only root may read.
      const pem = await readIfPresent(deps.data.caCert)
      if (pem === undefined)
        throw new TrustStoreError(`cannot trust the proxy: there is no ${deps.data.caCert}`)
      // Outside a container the certificate is where our own account can read it.
      const own = { caFile: deps.data.caCert, bundleFile: join(deps.data.proxyDir, 'ca-bundle.crt') }
      if (deps.mode === 'plain') {
        findings.trust = await writeOwnBundle(deps, pem, own)
        return { notDone: "the machine's is left alone" }
      }
      try {
        const installed = await installInSystem(deps, pem, signal)
        findings.trust = installed.files
        return installed.remark
      } catch (error) {
        const copy = join(deps.data.proxyDir, 'discobot-proxy-ca.crt')
        await ensureFile(copy, pem, { mode: 0o644 })
        findings.trust = await writeOwnBundle(deps, pem, { ...own, caFile: copy })
        throw error
      }
    },
  }
}

/**
 * Puts the certificate into the system's store and has the bundle rebuilt, unless it is in there already: the
 * tool costs 0.7–1.0 s even when nothing changes.
 *
 * @throws TrustStoreError when there is no known store or its tool fails.
 */
export async function installInSystem(
  deps: Pick<TrustStepDeps, 'root' | 'run' | 'inherited'>,
  pem: string,
  signal: AbortSignal,
): Promise<{ readonly files: TrustFiles; readonly remark: string }> {
  const store = await findStore(deps.root)
  if (store === undefined) {
    throw new TrustStoreError(
      'cannot add the CA to the trust store: neither update-ca-certificates nor update-ca-trust is installed; programs that ignore SSL_CERT_FILE will not trust the proxy until the ca-certificates package is in the image',
    )
  }
  const anchor = join(deps.root, store.anchor)
  const bundle = join(deps.root, store.bundle)
  const files = { caFile: anchor, bundleFile: bundle }
  await mkdir(dirname(anchor), { recursive: true })
  const isFirst = (await readIfPresent(anchor)) === undefined
  const changed = await ensureFile(anchor, pem, { mode: 0o644 })
  if (!changed && holdsCertificate(await readIfPresent(bundle), pem))
    return { files, remark: 'already trusted' }
  // A former CA of ours may be in the bundle otherwise, and only the tool takes it out.
  const added =
    isFirst && store.hasFolder
      ? await addToCertificateFolder({ pem, anchor, bundle, root: deps.root })
      : undefined
  if (added !== undefined) return { files, remark: `added to ${added}` }
  try {
    await deps.run([join(deps.root, store.tool), ...store.arguments], {
      env: { PATH: deps.inherited['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin' },
      cwd: '/',
      signal,
    })
  } catch (error) {
    throw new TrustStoreError(`cannot add the CA to the trust store: ${reasonOf(error)}`, { cause: error })
  }
  if (holdsCertificate(await readIfPresent(bundle), pem)) return { files, remark: `added to ${store.bundle}` }
  throw new TrustStoreError(
    `cannot add the CA to the trust store: ${store.tool} ran but left it out of ${store.bundle}`,
  )
}

async function findStore(root: string): Promise<TrustStore | undefined> {
  for (const store of STORES) {
    const runnable = await access(join(root, store.tool), constants.X_OK).then(
      () => true,
      () => false,
    )
    if (runnable) return store
  }
  return undefined
}

/** Line lengths and line ends differ between who wrote the one and the other. */
export function holdsCertificate(bundle: string | undefined, pem: string): boolean {
  const body = /-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----/
    .exec(pem)?.[1]
    ?.replace(/\s+/g, '')
  if (bundle === undefined || body === undefined) return false
  // Within the first line of whoever writes PEM (RFC 7468: 64 characters). Most often it is not there, and to take
  // the line ends out of a quarter of a megabyte takes 5 ms.
  return bundle.includes(body.slice(0, 48)) && bundle.replace(/\s+/g, '').includes(body)
}

/** The machine's certificates and ours, for programs that know one list only. */
async function writeOwnBundle(deps: TrustStepDeps, pem: string, files: TrustFiles): Promise<TrustFiles> {
  const system = await systemCertificates(deps)
  const content = `${system.trimEnd()}\n${pem.trimEnd()}\n`
  await ensureFile(files.bundleFile, content, { mode: 0o644 })
  return files
}

/** What the operator named first, then the known places; an image without any still has Node's list. */
async function systemCertificates({ inherited, root }: TrustStepDeps): Promise<string> {
  const named = inherited['SSL_CERT_FILE']
  const candidates = [
    ...(named === undefined ? [] : [named]),
    ...SYSTEM_BUNDLES.map((path) => join(root, path)),
  ]
  for (const path of candidates) {
    try {
      return await readFile(path, 'utf8')
    } catch (error) {
      if (codeOf(error) !== 'ENOENT' && path !== named) throw error
    }
  }
  const { rootCertificates } = await import('node:tls')
  return rootCertificates.join('\n')
}
