import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Container } from '../isolated.js'
import { ORIGIN_ADDRESS, type OriginCertificates } from './origin-certificates.js'

export const REGISTRY_HOST = 'registry.test'

/** The client of Debian's docker.io; the machine may have another earlier on its PATH. */
export const DOCKER = '/usr/bin/docker'

export interface Registry {
  /** Puts the layout's image there under a name, past the proxy. */
  push(layout: string, name: string): Promise<void>
  /** Request lines since the last call, such as `GET /v2/app/manifests/1`, all those answered before this one. */
  requests(): Promise<readonly string[]>
}

interface RegistryOptions {
  readonly host?: string
  readonly port?: number
}

/**
 * Debian's docker-registry behind TLS inside the container, with its storage in the container's memory, in
 * `/tmp/<host>`. `certificates.folder` must be seen inside.
 */
export async function startRegistry(
  container: Container,
  certificates: OriginCertificates,
  { host = REGISTRY_HOST, port = 443 }: RegistryOptions = {},
): Promise<Registry> {
  const { certFile, keyFile } = certificates.certificate(host)
  const config = join(certificates.folder, `${host}.yml`)
  const authority = port === 443 ? host : `${host}:${port}`
  writeFileSync(
    config,
    `version: 0.1
storage: { filesystem: { rootdirectory: /tmp/${host} } }
http: { addr: '${ORIGIN_ADDRESS}:${port}', tls: { certificate: '${certFile}', key: '${keyFile}' } }
`,
  )
  const server = container.spawnInside(['docker-registry', 'serve', config])
  if (server.stdout === null || server.stderr === null) throw new Error('the registry has no output')
  let log = ''
  server.stderr.setEncoding('utf8').on('data', (chunk: string) => (log = (log + chunk).slice(-20_000)))
  let seen: string[] = []
  let onLine = (): void => undefined
  createInterface({ input: server.stdout }).on('line', (line) => {
    // Apache's combined format: the request is the first thing in quotes.
    const request = /"([A-Z]+ \S+) HTTP\/[\d.]+"/.exec(line)?.[1]
    if (request === undefined) return
    seen.push(request)
    onLine()
  })
  const ended = new Promise<never>((_resolve, reject) => {
    server.once('exit', (code) => reject(new Error(`the registry ended with ${code}:\n${log}`)))
  })
  ended.catch(() => undefined)

  const direct = async (script: string): Promise<void> => {
    const { code, stderr } = await container.exec(`SSL_CERT_FILE='${certificates.caFile}' ${script}`)
    if (code !== 0) throw new Error(`cannot reach the registry: ${stderr}\n${log}`)
  }
  const base = `https://${authority}/v2/`
  const retry = '--retry 50 --retry-delay 0 --retry-connrefused --retry-max-time 20'
  await Promise.race([direct(`curl -sSf ${retry} --cacert '${certificates.caFile}' ${base}`), ended])

  let marks = 0
  return {
    push: (layout, name) => direct(`skopeo copy -q oci:'${layout}':1 docker://${authority}/${name}`),
    async requests() {
      // The log is written after an answer was sent, so a request of ours must be in it before we look.
      const mark = `?mark=${(marks += 1)}`
      const marked = new Promise<void>((resolve) => {
        onLine = () => {
          if (seen.some((request) => request.endsWith(mark))) resolve()
        }
      })
      await direct(`curl -sSf -o /dev/null --cacert '${certificates.caFile}' '${base}${mark}'`)
      await Promise.race([marked, ended])
      const found = seen.filter((request) => !request.includes('?mark='))
      seen = []
      return found
    },
  }
}

/** The blobs that were asked for, as digests, in order. */
export function blobGets(requests: readonly string[]): readonly string[] {
  return requests.flatMap((request) => /^GET \/v2\/.+\/blobs\/(sha256:[0-9a-f]{64})/.exec(request)?.[1] ?? [])
}
