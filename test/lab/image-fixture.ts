import { createHash, randomFillSync } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'

interface ImageLayer {
  /** Of the blob as a registry keeps it. */
  readonly digest: string
  /** Of the archive in it. */
  readonly diffId: string
  /** The one file it brings to the image's root. */
  readonly file: { readonly name: string; readonly sha256: string }
}

interface ImageFixture {
  /** Folder of an OCI image layout with the tag `1`. */
  readonly layout: string
  readonly layers: readonly ImageLayer[]
  /** Digests of all a registry must hand out besides manifests: layers and configuration. */
  readonly blobs: readonly string[]
  /** All blobs together. */
  readonly bytes: number
}

const MIB = 1024 * 1024

/** Sizes of a usual image: a base, what is installed on it, the program, a small last change. */
export const LARGE_IMAGE: readonly number[] = [48 * MIB, 36 * MIB, 24 * MIB, 4_321]

/**
 * Writes an image of random bytes, so that nothing on the way can have it by chance or make it smaller.
 *
 * @param layerBytes how much each layer's file holds, from the lowest layer to the topmost.
 */
export function makeImage(layout: string, layerBytes: readonly number[]): ImageFixture {
  const store = join(layout, 'blobs/sha256')
  mkdirSync(store, { recursive: true })
  let bytes = 0
  const put = (content: Buffer): { digest: string; size: number } => {
    const hex = sha256(content)
    writeFileSync(join(store, hex), content)
    bytes += content.length
    return { digest: `sha256:${hex}`, size: content.length }
  }
  const putJson = (value: object): { digest: string; size: number } => put(Buffer.from(JSON.stringify(value)))

  const layers = layerBytes.map((size, index) => {
    const content = randomFillSync(Buffer.allocUnsafe(size))
    const name = `layer-${index}.bin`
    const archive = tarOf(name, content)
    // Stored, not deflated: random bytes do not shrink.
    const { digest, size: blobSize } = put(gzipSync(archive, { level: 0 }))
    return {
      digest,
      size: blobSize,
      diffId: `sha256:${sha256(archive)}`,
      file: { name, sha256: sha256(content) },
    }
  })
  const config = putJson({
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    config: { Cmd: ['/layer-0.bin'] },
    rootfs: { type: 'layers', diff_ids: layers.map((layer) => layer.diffId) },
  })
  const blobBytes = bytes
  const manifest = putJson({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...config },
    layers: layers.map(({ digest, size }) => ({
      mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
      digest,
      size,
    })),
  })
  const tagged = { 'org.opencontainers.image.ref.name': '1' }
  writeFileSync(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
  writeFileSync(
    join(layout, 'index.json'),
    JSON.stringify({
      schemaVersion: 2,
      manifests: [
        { mediaType: 'application/vnd.oci.image.manifest.v1+json', ...manifest, annotations: tagged },
      ],
    }),
  )
  return { layout, layers, blobs: [...layers.map((layer) => layer.digest), config.digest], bytes: blobBytes }
}

function sha256(content: Buffer): string {
  return createHash('sha256').update(content).digest('hex')
}

/** An archive of one file in the ustar format (POSIX.1-1988): a header of 512 bytes, padding, two empty blocks. */
function tarOf(name: string, content: Buffer): Buffer {
  const header = Buffer.alloc(512)
  const octal = (value: number, at: number, width: number): void => {
    header.write(value.toString(8).padStart(width - 1, '0'), at)
  }
  header.write(name, 0)
  octal(0o644, 100, 8)
  octal(0, 108, 8)
  octal(0, 116, 8)
  octal(content.length, 124, 12)
  octal(0, 136, 12)
  header.write('        ', 148)
  header.write('0', 156)
  header.write('ustar\u000000', 257)
  octal(
    header.reduce((sum, byte) => sum + byte, 0),
    148,
    8,
  )
  const padding = Buffer.alloc((512 - (content.length % 512)) % 512)
  return Buffer.concat([header, content, padding, Buffer.alloc(1024)])
}
