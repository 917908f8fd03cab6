import type { CacheRequest } from '../contract/contract.js'

/** OCI distribution, "Pulling blobs" and "Pulling manifests": everything before is the name of a repository. */
const REPOSITORY = /^(\/v2\/.+)\/(?:blobs|manifests)\/[^/]+$/

/** Path of the repository that a request asks, `/v2/<name>`; undefined where it asks none. */
export function repositoryOf({ path }: Pick<CacheRequest, 'path'>): string | undefined {
  return REPOSITORY.exec(path)?.[1]
}

/**
 * Who can say of a digest that it is there, and in which words: a repository of a registry, or elsewhere one path
 * of a host. A scheme is part of it, for anybody on the way may answer in place of a host over plain HTTP.
 */
export function placeOf(
  { scheme, authority, path }: Pick<CacheRequest, 'scheme' | 'authority' | 'path'>,
  repository: string | undefined,
): string {
  return `${scheme}://${authority}${repository ?? path}`
}
