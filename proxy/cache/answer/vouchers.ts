import { LRUCache } from 'lru-cache'

/** Repositories whose manifests are remembered, and blobs of each: some 100 bytes a blob. */
const MAX_REPOSITORIES = 500
const MAX_BLOBS = 2000

interface Heard {
  /** Entries of manifests that were read. */
  readonly manifests: Set<string>
  readonly blobs: Set<string>
}

/**
 * Blobs that a repository has said to have, by a manifest which it gave out and which names them (OCI distribution,
 * "Pushing Manifests": a registry takes none whose blobs it has not). Who pulls need not ask about each of them; who
 * pushes asks by HEAD, and that is never answered here.
 */
export class Vouchers {
  readonly #repositories = new LRUCache<string, Heard>({ max: MAX_REPOSITORIES })

  /** @param place the repository. @param name of the manifest's entry. */
  hear(place: string, name: string, manifest: Buffer): void {
    const heard = this.#repositories.get(place)
    if (heard?.manifests.has(name) === true) return
    const kept =
      heard === undefined || heard.blobs.size > MAX_BLOBS
        ? { manifests: new Set<string>(), blobs: new Set<string>() }
        : heard
    kept.manifests.add(name)
    for (const digest of blobsOf(manifest)) kept.blobs.add(digest)
    this.#repositories.set(place, kept)
  }

  /** @param digest `sha256:<hex>` */
  vouchFor(place: string, digest: string): boolean {
    return this.#repositories.get(place)?.blobs.has(digest) === true
  }
}

/** Digests of the configuration and the layers (OCI image specification, "Image Manifest"); none of other documents. */
function blobsOf(manifest: Buffer): string[] {
  const document = parsed(manifest)
  const layers: unknown[] = Array.isArray(document['layers']) ? document['layers'] : []
  return [document['config'], ...layers].slice(0, MAX_BLOBS).flatMap((part) => {
    const digest = typeof part === 'object' && part !== null && 'digest' in part ? part.digest : undefined
    return typeof digest === 'string' ? [digest] : []
  })
}

/** What a manifest says it is, where nobody else has said it. */
export function mediaTypeOf(manifest: Buffer): string | undefined {
  const { mediaType, manifests, layers } = parsed(manifest)
  if (typeof mediaType === 'string' && /^[\w.+-]+\/[\w.+-]+$/.test(mediaType)) return mediaType
  // The OCI specification leaves the field out where the shape tells.
  if (Array.isArray(manifests)) return 'application/vnd.oci.image.index.v1+json'
  return Array.isArray(layers) ? 'application/vnd.oci.image.manifest.v1+json' : undefined
}

function parsed(manifest: Buffer): Record<string, unknown> {
  try {
    const document: unknown = JSON.parse(manifest.toString())
    return typeof document === 'object' && document !== null ? { ...document } : {}
  } catch {
    return {}
  }
}
