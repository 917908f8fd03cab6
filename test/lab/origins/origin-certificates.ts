import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ensureAuthority } from '../../../proxy/tls/authority.js'
import { createLeafIssuer } from '../../../proxy/tls/leaf.js'

/** tap's test object, as far as it is needed here. */
interface Scope {
  teardown(clean: () => Promise<void> | void): void
}

/** Loopback, yet none of the addresses that NO_PROXY and Docker treat as their own machine. */
export const ORIGIN_ADDRESS = '10.99.0.1'

export interface OriginCertificates {
  /** Holds all of the files; readable by every account, as the proxy has one of its own. */
  readonly folder: string
  /** The authority that nothing but the proxy is told of. */
  readonly caFile: string
  /** What `DISCOBOT_PROXY_CONFIG` is to name. */
  readonly operatorFile: string
  /** Shell text that makes the names lead to `ORIGIN_ADDRESS`, run inside before process 1 starts. */
  readonly prepare: string
  certificate(host: string): { readonly certFile: string; readonly keyFile: string }
}

/**
 * A certificate authority for the servers of a test, a certificate for each name, and the operator's file that
 * makes the proxy trust them.
 *
 * @param more lines added to the operator's file.
 */
export async function makeOriginCertificates(
  t: Scope,
  hosts: readonly string[],
  more = '',
): Promise<OriginCertificates> {
  const folder = mkdtempSync(join(tmpdir(), 'discobot-origins-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const caFile = join(folder, 'ca.crt')
  const authority = await ensureAuthority({
    certPath: caFile,
    keyPath: join(folder, 'ca.key'),
    now: Date.now,
  })
  const issuer = createLeafIssuer(authority, Date.now)
  const filesOf = (host: string): { certFile: string; keyFile: string } => ({
    certFile: join(folder, `${host}.crt`),
    keyFile: join(folder, `${host}.key`),
  })
  for (const host of hosts) {
    const { certFile, keyFile } = filesOf(host)
    writeFileSync(certFile, issuer.issue(host))
    writeFileSync(keyFile, issuer.keyPem)
  }
  const operatorFile = join(folder, 'operator.yaml')
  writeFileSync(operatorFile, `tls: { upstream_ca: ['${caFile}'] }\n${more}`)
  chmodSync(folder, 0o755)
  return {
    folder,
    caFile,
    operatorFile,
    prepare: `ip addr add ${ORIGIN_ADDRESS}/32 dev lo; echo '${ORIGIN_ADDRESS} ${hosts.join(' ')}' >>/etc/hosts\n`,
    certificate: filesOf,
  }
}
