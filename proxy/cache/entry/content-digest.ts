/** A digest that a URL promises its body to have. */
export interface ContentDigest {
  readonly algorithm: 'sha256' | 'sha512'
  /** Lower case, of the algorithm's full length. */
  readonly hex: string
  /** A manifest's type is part of what it is, so it never shares an entry with the same bytes as a blob. */
  readonly kind: 'blob' | 'manifest'
}

/** OCI distribution, "Pulling blobs" and "Pulling manifests": upper case is not a digest there. */
const REGISTRY_PATH = /^\/v2\/.+\/(blobs|manifests)\/(sha256|sha512):([0-9a-f]+)$/
/** `…/blobs/sha256/ab/<hex>/data` is how `distribution` lays out its storage; CDNs drop both ends of it. */
const STORAGE_PATH = /\/(sha256|sha512)\/([0-9a-f]{2})\/([0-9a-f]+)(?:\/data)?$/
/** Where GitHub's and Google's registries redirect to: `/ghcr1/blobs/sha256:…`, `/…/containers/images/sha256:…`. */
const CDN_PATH = /\/(?:blobs|containers\/images)\/(sha256|sha512):([0-9a-f]+)$/
const HEX_LENGTH = { sha256: 64, sha512: 128 } as const
const HEX_RUN = /[0-9a-f]{64,}/g

/** The digest the body of `path` must have, where the path has one of the shapes registries and CDNs use. */
export function digestInPath(path: string): ContentDigest | undefined {
  const registry = REGISTRY_PATH.exec(path)
  if (registry !== null) {
    return contentDigest(registry[2], registry[3], registry[1] === 'manifests' ? 'manifest' : 'blob')
  }
  const cdn = CDN_PATH.exec(path)
  if (cdn !== null) return contentDigest(cdn[1], cdn[2], 'blob')
  const storage = STORAGE_PATH.exec(path)
  if (storage === null || storage[3]?.startsWith(storage[2] ?? '-') !== true) return undefined
  return contentDigest(storage[1], storage[3], 'blob')
}

/** The last run of hex digits of `path` that is as long as a digest of `algorithm`. */
export function digestAnywhere(
  path: string,
  algorithm: ContentDigest['algorithm'],
): ContentDigest | undefined {
  const runs = path.match(HEX_RUN) ?? []
  return contentDigest(
    algorithm,
    runs.findLast((run) => run.length === HEX_LENGTH[algorithm]),
    'blob',
  )
}

function contentDigest(
  algorithm: string | undefined,
  hex: string | undefined,
  kind: ContentDigest['kind'],
): ContentDigest | undefined {
  if (algorithm !== 'sha256' && algorithm !== 'sha512') return undefined
  return hex?.length === HEX_LENGTH[algorithm] ? { algorithm, hex, kind } : undefined
}
