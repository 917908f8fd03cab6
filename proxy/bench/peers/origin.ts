import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { LOOPBACK } from '../../../config/model/paths.js'
import type { Blob } from '../stage/blobs.js'
import { Blobs } from '../stage/blobs.js'
import { requestOnce } from '../client/request.js'
import { openSecure } from '../client/secure-socket.js'
import { BLOB_HOST, HOST_PATTERN, ORIGIN_PORT } from '../stage/hosts.js'
import type { Stage } from '../stage/stage.js'

export interface Origin {
  readonly pid: number
  /** What signed the origin's certificate. */
  readonly caFile: string
  readonly ca: string
  readonly blobs: Blobs
  /** How often the blob was asked for since nginx started. */
  fetches(blob: Blob): Promise<number>
}

/**
 * nginx as Debian packages it, one worker, serving blobs by digest over TLS.
 *
 * @throws PeerUnavailableError when nginx cannot be started; there is nothing to measure then.
 */
export async function startOrigin(stage: Stage, nginx: string): Promise<Origin> {
  const folder = join(stage.folder, 'origin')
  await mkdir(folder)
  await makeCertificates(folder)
  const config = join(folder, 'nginx.conf')
  await writeFile(config, nginxConfig(folder))
  const blobs = new Blobs(join(folder, 'blobs'))
  const { pid } = await stage.start({
    name: 'origin',
    command: [nginx, '-c', config, '-p', folder],
    env: {},
    port: ORIGIN_PORT,
  })
  const caFile = join(folder, 'ca.crt')
  const ca = await readFile(caFile, 'utf8')
  let marks = 0
  return {
    pid,
    caFile,
    ca,
    blobs,
    async fetches({ digest }) {
      // The one worker logs in the order in which it ends requests: what ended before this one is in the log.
      marks += 1
      const mark = `/mark/${marks}`
      const socket = await openSecure({ host: BLOB_HOST, ca })
      await requestOnce(socket, { host: BLOB_HOST, path: mark, status: 404 })
      socket.destroy()
      const lines = await logUntil(join(folder, 'access.log'), mark)
      return lines.filter((line) => line.endsWith(digest)).length
    },
  }
}

async function logUntil(path: string, mark: string): Promise<string[]> {
  for (;;) {
    const lines = (await readFile(path, 'utf8')).split('\n')
    if (lines.some((line) => line.endsWith(mark))) return lines
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

async function makeCertificates(folder: string): Promise<void> {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  const openssl = (...args: string[]): Promise<unknown> => execa('openssl', args, { cwd: folder })
  await openssl(
    ...['req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.crt', '-days', '2', '-subj', '/CN=Bench CA'],
    ...['-addext', 'keyUsage=critical,keyCertSign,cRLSign'],
  )
  await openssl('req', ...key, '-keyout', 'leaf.key', '-out', 'leaf.csr', '-subj', '/CN=origin')
  await writeFile(
    join(folder, 'leaf.ext'),
    `subjectAltName=DNS:${HOST_PATTERN}\nextendedKeyUsage=serverAuth\n`,
  )
  await openssl(
    ...['x509', '-req', '-in', 'leaf.csr', '-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial'],
    ...['-days', '2', '-extfile', 'leaf.ext', '-out', 'leaf.crt'],
  )
}

/** What nginx does by itself is left alone; only what would end a long measurement is raised. */
function nginxConfig(folder: string): string {
  return `
worker_processes 1;
daemon off;
${process.getuid?.() === 0 ? 'user root;' : ''}
pid ${folder}/nginx.pid;
error_log ${folder}/error.log warn;
events { worker_connections 4096; }
http {
  log_format fetches '$status $request_uri';
  access_log ${folder}/access.log fetches;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 10000000;
  default_type application/octet-stream;
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/tmp-${name};`).join(' ')}
  server {
    listen ${LOOPBACK}:${ORIGIN_PORT} ssl;
    ssl_certificate ${folder}/leaf.crt;
    ssl_certificate_key ${folder}/leaf.key;
    ssl_session_cache shared:TLS:1m;
    location ~ "^/v2/.+/blobs/(sha256:[0-9a-f]{64})$" { alias ${folder}/blobs/$1; }
    location / { return 404; }
  }
}
`
}
