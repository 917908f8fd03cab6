import { isUtf8 } from 'node:buffer'

/** Part of what a command has printed, as JSON can carry it. */
export type OutputData = { readonly data: string } | { readonly data: string; readonly encoding: 'base64' }

/**
 * Cuts a stream of bytes into pieces that are text, or base64 where they are not UTF-8. A character that a read has
 * cut in two waits for its other half.
 */
export class Utf8Chunks {
  #rest: Buffer = Buffer.alloc(0)

  take(chunk: Buffer): OutputData | undefined {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    const whole = bytes.length - openBytes(bytes)
    this.#rest = bytes.subarray(whole)
    return encode(bytes.subarray(0, whole))
  }

  /** The half of a character that never got its other half. */
  end(): OutputData | undefined {
    const rest = this.#rest
    this.#rest = Buffer.alloc(0)
    return encode(rest)
  }
}

function encode(bytes: Buffer): OutputData | undefined {
  if (bytes.length === 0) return undefined
  if (isUtf8(bytes)) return { data: bytes.toString('utf8') }
  return { data: bytes.toString('base64'), encoding: 'base64' }
}

/** How many bytes at the end begin a character without ending it (RFC 3629: one to four bytes each): 0 to 3. */
function openBytes(bytes: Buffer): number {
  for (let back = 1; back <= 3 && back <= bytes.length; back += 1) {
    const byte = bytes[bytes.length - back] ?? 0
    if ((byte & 0xc0) === 0x80) continue
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1
    return length > back ? back : 0
  }
  return 0
}
