import { existsSync } from 'node:fs'
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { LOOPBACK } from '../../../config/model/paths.js'
import { reasonOf } from '../../../base/errors.js'
import { PeerUnavailableError } from '../stage/errors.js'
import { freePort } from '../stage/stage.js'
import type { StartPeer } from './peer.js'

const CERTGEN = '/usr/lib/squid/security_file_certgen'
/** Debian's account for squid, which refuses to serve as root. */
const ACCOUNT = 'proxy'

/** squid-openssl with ssl-bump, set up for the same work as well as we know how. */
export const startSquid: StartPeer = async ({ stage, origin, find }) => {
  const squid = find('squid')
  if (squid === undefined || !existsSync(CERTGEN)) {
    throw new PeerUnavailableError('squid with TLS is not installed: apt-get install squid-openssl')
  }
  const folder = join(stage.folder, 'squid')
  await mkdir(folder)
  const asRoot = process.getuid?.() === 0
  const port = await freePort()
  const config = join(folder, 'squid.conf')
  await writeFile(config, squidConfig({ folder, port, upstreamCa: origin.caFile, asRoot }))
  try {
    await makeCa(folder)
    await execa(CERTGEN, ['-c', '-s', join(folder, 'ssl_db'), '-M', '16MB'])
    if (asRoot) await execa('chown', ['-R', `${ACCOUNT}:`, folder])
    await execa(squid, ['-N', '-z', '-f', config], { timeout: 20_000 })
  } catch (error) {
    throw new PeerUnavailableError(`cannot set up squid: ${reasonOf(error)}`, { cause: error })
  }
  const running = await stage.start({ name: 'squid', command: [squid, '-N', '-f', config], env: {}, port })
  const caFile = join(folder, 'ca.crt')
  const ca = await readFile(caFile, 'utf8')
  return {
    name: 'squid',
    caFile,
    ca,
    proxyPort: port,
    pid: running.pid,
    caches: true,
    stop: running.stop,
  }
}

/** RSA-2048 like ours, so that signing a certificate costs both the same. */
async function makeCa(folder: string): Promise<void> {
  await execa(
    'openssl',
    ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'ca.key', '-out', 'ca.crt', '-days', '2']
      .concat(['-subj', '/CN=squid bench CA'])
      .concat(['-addext', 'keyUsage=critical,keyCertSign,cRLSign']),
    { cwd: folder },
  )
  await chmod(join(folder, 'ca.key'), 0o600)
}

interface SquidOptions {
  readonly folder: string
  readonly port: number
  readonly upstreamCa: string
  readonly asRoot: boolean
}

/**
 * `bump all` ends the client's TLS before upstream is asked, as we do; peeking first would cost squid a handshake
 * with the origin for every new host. Of the stores, `ufs` was the fastest here: 295 MB/s of
 * hits where aufs gave 97 and rock 110, all with the files in the page cache.
 */
function squidConfig({ folder, port, upstreamCa, asRoot }: SquidOptions): string {
  return `
http_port ${LOOPBACK}:${port} ssl-bump tls-cert=${folder}/ca.crt tls-key=${folder}/ca.key generate-host-certificates=on dynamic_cert_mem_cache_size=16MB
sslcrtd_program ${CERTGEN} -s ${folder}/ssl_db -M 16MB
sslcrtd_children 4 startup=1 idle=1
ssl_bump bump all
tls_outgoing_options cafile=${upstreamCa}
http_access allow all
maximum_object_size 2 GB
cache_dir ufs ${folder}/cache 20000 16 256
collapsed_forwarding on
refresh_pattern . 525600 100% 525600 override-expire override-lastmod ignore-reload
access_log stdio:${folder}/access.log
cache_log ${folder}/cache.log
cache_store_log none
pid_filename ${folder}/squid.pid
coredump_dir ${folder}
netdb_filename none
pinger_enable off
shutdown_lifetime 0 seconds
visible_hostname localhost
${asRoot ? `cache_effective_user ${ACCOUNT}` : ''}
`
}
