import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import type { Test } from 'tap'

const BLOCK_BYTES = 1024 * 1024
const DRIP_BYTES = 16 * 1024

interface Blob {
  readonly size: number
  slice(from: number, to: number): Buffer
}

/**
 * A registry of blobs that does wrong what a request's query asks for, in any combination:
 *
 * - `truncate`, `reset`: half of the body, then an end, or a TCP reset;
 * - `short`, `long`: a Content-Length one too large, or one too small;
 * - `stall`: half of the body, the rest when `release` is called; `hold`: not even a head before that;
 * - `wrong`: one bit is flipped in the last byte;
 * - `gzip`: encoded, and says so;
 * - `chunked`: no Content-Length;
 * - `drip`: 16 KiB at a time, a millisecond apart;
 * - `ranges`: `Range: bytes=N-` and `N-M` are honoured, and all but `wrong` is done only where none is asked for;
 *   `slip`: a part begins a byte too late; `stop`: it ends a byte too early; `whole`: all of it comes instead;
 *   `retag`: it has another ETag; `down`: the connection is closed instead, the first time;
 * - `partial`: 206 although no range was asked for; `status=N`;
 * - `header=Name:value`: one more header, repeatable.
 */
export class MisbehavingOrigin {
  /** `METHOD url` of every request, in order. */
  readonly requests: string[] = []
  readonly #blobs = new Map<string, Blob>()
  readonly #held = new Set<() => void>()
  readonly #refused = new Set<string>()
  #server = createServer((request, response) => this.#answer(request, response))
  #arrivals = new Set<() => void>()

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  static async start(t: Test): Promise<MisbehavingOrigin> {
    const origin = new MisbehavingOrigin()
    const sockets = new Set<Socket>()
    origin.#server.on('connection', (socket: Socket) => {
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
    })
    await new Promise<void>((resolve) => origin.#server.listen(0, '127.0.0.1', resolve))
    t.teardown(async () => {
      const closed = new Promise((resolve) => origin.#server.close(resolve))
      for (const socket of sockets) socket.destroy()
      await closed
    })
    return origin
  }

  /** Adds a body; resolves with the path of its blob. */
  add(bytes: Buffer | string): string {
    const body = Buffer.from(bytes)
    return this.#keep(createHash('sha256').update(body).digest('hex'), {
      size: body.length,
      slice: (from, to) => body.subarray(from, to),
    })
  }

  /** Adds a body of `size` bytes that takes no memory; the same every time. */
  addGenerated(size: number): string {
    const blob = generatedBlob(size)
    const hash = createHash('sha256')
    for (let at = 0; at < size; at += BLOCK_BYTES)
      hash.update(blob.slice(at, Math.min(at + BLOCK_BYTES, size)))
    return this.#keep(hash.digest('hex'), blob)
  }

  /** How many bodies were asked for, of `path` or of all. */
  fetches(path = ''): number {
    return this.requests.filter((line) => line.startsWith(`GET ${path}`)).length
  }

  /** Resolves when that many requests have come. */
  async arrived(count: number): Promise<void> {
    while (this.requests.length < count) {
      await new Promise<void>((resolve) => this.#arrivals.add(resolve))
    }
  }

  /** Lets everything held or stalled go on. */
  release(): void {
    const held = [...this.#held]
    this.#held.clear()
    for (const go of held) go()
  }

  #keep(hex: string, blob: Blob): string {
    this.#blobs.set(hex, blob)
    return `/v2/library/thing/blobs/sha256:${hex}`
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    this.requests.push(`${request.method} ${request.url}`)
    for (const arrived of this.#arrivals) arrived()
    this.#arrivals.clear()
    const url = new URL(request.url ?? '/', 'http://origin')
    const hex = /([0-9a-f]{64})(?:\/data)?$/.exec(url.pathname)?.[1] ?? ''
    const blob = this.#blobs.get(hex) ?? textBlob(url.pathname)
    const wrongs = url.searchParams
    response.on('error', () => undefined)
    void this.#send(request, response, encoded(blob, wrongs), wrongs)
  }

  async #send(
    request: IncomingMessage,
    response: ServerResponse,
    blob: Blob,
    wrongs: URLSearchParams,
  ): Promise<void> {
    const range = wrongs.has('ranges') ? /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') : null
    if (range !== null) {
      await this.#sendPart(
        request,
        response,
        blob,
        wrongs,
        Number(range[1]),
        Number(range[2] || Infinity) + 1,
      )
      return
    }
    if (wrongs.has('hold')) await this.#hold()
    const headers = ['Content-Type', 'application/octet-stream', 'Date', new Date(0).toUTCString()]
    for (const extra of wrongs.getAll('header')) {
      const colon = extra.indexOf(':')
      headers.push(extra.slice(0, colon), extra.slice(colon + 1))
    }
    if (wrongs.has('gzip')) headers.push('Content-Encoding', 'gzip')
    if (wrongs.has('partial')) headers.push('Content-Range', `bytes 0-${blob.size - 1}/${blob.size}`)
    const lie = wrongs.has('short') ? 1 : wrongs.has('long') ? -1 : 0
    if (!wrongs.has('chunked')) headers.push('Content-Length', String(blob.size + lie))
    const status = wrongs.has('partial') ? 206 : Number(wrongs.get('status') ?? 200)
    response.writeHead(status, headers)
    if (request.method === 'HEAD') return void response.end()
    const half = Math.floor(blob.size / 2)
    const drips = wrongs.has('drip')
    await write(response, blob, 0, half, drips)
    if (wrongs.has('reset')) return void response.socket?.resetAndDestroy()
    if (wrongs.has('truncate')) return void response.socket?.end()
    if (wrongs.has('stall')) await this.#hold()
    await write(response, blob, half, blob.size, drips)
    if (lie === 0) response.end()
    else response.socket?.end()
  }

  async #sendPart(
    request: IncomingMessage,
    response: ServerResponse,
    blob: Blob,
    wrongs: URLSearchParams,
    asked: number,
    end: number,
  ): Promise<void> {
    if (wrongs.has('down') && !this.#refused.has(request.url ?? '')) {
      this.#refused.add(request.url ?? '')
      return void response.socket?.destroy()
    }
    const tag = wrongs
      .getAll('header')
      .find((header) => header.startsWith('ETag:'))
      ?.slice(5)
    const condition = request.headers['if-range']
    if (wrongs.has('whole') || (condition !== undefined && condition !== tag)) {
      response.writeHead(200, { 'Content-Length': blob.size })
      await write(response, blob, 0, blob.size)
      return void response.end()
    }
    const from = wrongs.has('slip') ? asked + 1 : asked
    const to = Math.min(end, blob.size) - (wrongs.has('stop') ? 1 : 0)
    response.writeHead(206, {
      'Content-Range': `bytes ${from}-${to - 1}/${blob.size}`,
      'Content-Length': to - from,
      ...(tag === undefined ? {} : { ETag: wrongs.has('retag') ? '"another"' : tag }),
    })
    await write(response, blob, from, to)
    response.end()
  }

  #hold(): Promise<void> {
    return new Promise((resolve) => this.#held.add(resolve))
  }
}

function encoded(blob: Blob, wrongs: URLSearchParams): Blob {
  if (wrongs.has('gzip')) {
    const body = gzipSync(blob.slice(0, blob.size))
    return { size: body.length, slice: (from, to) => body.subarray(from, to) }
  }
  if (!wrongs.has('wrong')) return blob
  return {
    size: blob.size,
    slice: (from, to) => {
      const part = Buffer.from(blob.slice(from, to))
      if (to === blob.size) part.writeUInt8((part.at(-1) ?? 0) ^ 1, part.length - 1)
      return part
    },
  }
}

function textBlob(text: string): Blob {
  const body = Buffer.from(text)
  return { size: body.length, slice: (from, to) => body.subarray(from, to) }
}

/** Every block begins with its own number, so that bytes of a wrong place do not pass. */
function generatedBlob(size: number): Blob {
  const block = Buffer.alloc(BLOCK_BYTES)
  for (let at = 0; at < BLOCK_BYTES; at += 4) block.writeUInt32LE((at * 2654435761) >>> 0, at)
  return {
    size,
    slice: (from, to) => {
      const whole = from % BLOCK_BYTES === 0 && to - from <= BLOCK_BYTES
      const parts: Buffer[] = []
      for (let at = from - (from % BLOCK_BYTES); at < to; at += BLOCK_BYTES) {
        const copy = Buffer.from(block)
        copy.writeUInt32LE(at / BLOCK_BYTES, 0)
        parts.push(copy.subarray(Math.max(0, from - at), Math.min(BLOCK_BYTES, to - at)))
      }
      return whole ? (parts[0] ?? Buffer.alloc(0)) : Buffer.concat(parts)
    },
  }
}

async function write(
  response: ServerResponse,
  blob: Blob,
  from: number,
  to: number,
  drips = false,
): Promise<void> {
  const step = drips ? DRIP_BYTES : BLOCK_BYTES
  for (let at = from; at < to; at += step) {
    if (response.destroyed) return
    const part = blob.slice(at, Math.min(at + step, to))
    if (drips) await delay(1)
    await new Promise<void>((resolve) => {
      response.once('close', resolve)
      response.write(part, () => {
        response.off('close', resolve)
        resolve()
      })
    })
  }
}
