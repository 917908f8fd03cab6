import { LOOPBACK } from '../../../config/model/paths.js'

/** With the port that URLs leave out: hey sends what stands in the URL as its TLS name, port and all. */
export const ORIGIN_PORT = 443

export const BLOB_HOST = 'blobs.bench.test'

/** What the origin's certificate is for. */
export const HOST_PATTERN = '*.bench.test'

/** Names that nobody has been asked for before, from 0 on. */
export function newHost(index: number): string {
  return `new-${index}.bench.test`
}

/** A hosts file (hosts(5)) in which all of them, `count` new ones included, are the loopback address. */
export function hostsFile(count: number): string {
  const names = ['localhost', BLOB_HOST, ...Array.from({ length: count }, (_, index) => newHost(index))]
  return names.map((name) => `${LOOPBACK} ${name}\n`).join('')
}
