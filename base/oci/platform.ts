import { WarmFetchError, WarmReferenceError } from './errors.js'
import type { Descriptor, Manifest, Platform } from './manifest.js'

/** Node's names of processors, where they are not Go's. */
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386' }

/** That of this machine. */
export function ownPlatform(arch: string): Platform {
  return { os: 'linux', architecture: ARCHITECTURES[arch] ?? arch }
}

/** `linux/amd64` or `linux/arm/v7`. @throws WarmReferenceError */
export function parsePlatform(text: string): Platform {
  const [os = '', architecture = '', variant, ...more] = text.split('/')
  if (
    more.length > 0 ||
    ![os, architecture, variant ?? 'v8'].every((part) => /^[a-z0-9_-]{1,64}$/.test(part))
  ) {
    throw new WarmReferenceError(
      `cannot use ${JSON.stringify(text.slice(0, 100))} as a platform: write one such as linux/amd64 or linux/arm/v7`,
    )
  }
  return { os, architecture, ...(variant === undefined ? {} : { variant }) }
}

export function formatPlatform({ os, architecture, variant }: Platform): string {
  return [os, architecture, ...(variant === undefined ? [] : [variant])].join('/')
}

/** The first image of an index that runs on `wanted`. @throws WarmFetchError that names what there is. */
export function choosePlatform(
  { manifests }: Extract<Manifest, { kind: 'index' }>,
  wanted: Platform,
): Descriptor {
  const chosen = manifests.find(
    ({ platform }) =>
      platform?.os === wanted.os &&
      platform.architecture === wanted.architecture &&
      (wanted.variant === undefined || platform.variant === wanted.variant),
  )
  if (chosen !== undefined) return chosen
  // Attestations stand in the list as images of an unknown platform.
  const offered = manifests.flatMap(({ platform }) =>
    platform === undefined || platform.os === 'unknown' ? [] : formatPlatform(platform),
  )
  throw new WarmFetchError(
    `it has no image for ${formatPlatform(wanted)}; there are ${offered.join(', ') || 'none'}`,
  )
}
