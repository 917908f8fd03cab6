import * as v from 'valibot'
import { WarmFetchError } from './errors.js'

/** What a registry may send as a manifest; the limit of distribution's own client. */
export const MAX_MANIFEST_BYTES = 4 * 1024 * 1024
/** The largest images in use have some hundred layers; Docker itself refuses more than 127. */
const MAX_LAYERS = 1000
const MAX_PLATFORMS = 1000

const INDEX_TYPES = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
]
const MANIFEST_TYPES = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
]
/** Everything that can be read, for `Accept`. */
export const MANIFEST_ACCEPT = [...INDEX_TYPES, ...MANIFEST_TYPES].join(', ')

export interface Descriptor {
  /** `sha256:…` or `sha512:…`. */
  readonly digest: string
  /** Bytes. */
  readonly size: number
}

export interface Platform {
  readonly os: string
  readonly architecture: string
  readonly variant?: string | undefined
}

export type Manifest =
  | {
      readonly kind: 'index'
      readonly manifests: readonly (Descriptor & { readonly platform?: Platform | undefined })[]
    }
  | { readonly kind: 'image'; readonly config: Descriptor; readonly layers: readonly Layer[] }

interface Layer extends Descriptor {
  /** Kept elsewhere by licence and not in the registry: nothing of it is fetched. */
  readonly foreign: boolean
}

const digest = v.pipe(v.string(), v.regex(/^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/))
const size = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const word = v.pipe(v.string(), v.maxLength(64))

const indexSchema = v.object({
  manifests: v.pipe(
    v.array(
      v.object({
        digest,
        size,
        platform: v.optional(v.object({ os: word, architecture: word, variant: v.optional(word) })),
      }),
    ),
    v.maxLength(MAX_PLATFORMS),
  ),
})

const imageSchema = v.object({
  config: v.object({ digest, size }),
  layers: v.pipe(
    v.array(
      v.object({ digest, size, mediaType: v.optional(v.string()), urls: v.optional(v.array(v.string())) }),
    ),
    v.maxLength(MAX_LAYERS),
  ),
})

/**
 * Reads what came as a manifest.
 *
 * @param type of the `Content-Type` header.
 * @throws WarmFetchError
 */
export function parseManifest(bytes: Buffer, type: string | undefined): Manifest {
  const value = parseJson(bytes)
  const named = mediaType(value) ?? type?.split(';', 1)[0]?.trim()
  if (named !== undefined && INDEX_TYPES.includes(named)) {
    const found = v.safeParse(indexSchema, value)
    if (found.success) return { kind: 'index', manifests: found.output.manifests }
  } else if (named !== undefined && MANIFEST_TYPES.includes(named)) {
    const found = v.safeParse(imageSchema, value)
    if (found.success) {
      const { config, layers } = found.output
      return {
        kind: 'image',
        config,
        layers: layers.map(({ digest, size, mediaType = '', urls = [] }) => ({
          digest,
          size,
          foreign: urls.length > 0 || /nondistributable|\.foreign\./.test(mediaType),
        })),
      }
    }
  } else {
    throw new WarmFetchError(
      `its media type ${JSON.stringify(named ?? '')} is not one of an image's manifest`,
    )
  }
  throw new WarmFetchError('its manifest is malformed')
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString()) as unknown
  } catch {
    throw new WarmFetchError('its manifest is not JSON')
  }
}

function mediaType(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null || !('mediaType' in value)) return undefined
  return typeof value.mediaType === 'string' ? value.mediaType : undefined
}
