import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'

/** What came of a request through a proxy that may be gone at any moment. */
export interface Proxied {
  /** 0 when not even a head came. */
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  /** Node's client saw the message's end where its framing says it is. */
  readonly complete: boolean
}

export interface ProxiedOptions {
  readonly method?: 'GET' | 'HEAD'
  readonly headers?: Readonly<Record<string, string>>
  /** Milliseconds between two chunks. */
  readonly pauseMs?: number
  /** Leaves once so many bytes have come. */
  readonly leavesAfter?: number
  /** Called for each chunk. */
  readonly onChunk?: () => void
}

/** One request over plain HTTP on a connection of its own; never rejects. */
export function proxiedGet(
  proxyPort: number,
  url: string,
  { method = 'GET', headers = {}, pauseMs = 0, leavesAfter = Infinity, onChunk }: ProxiedOptions = {},
): Promise<Proxied> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = []
    let length = 0
    const outgoing = httpRequest({
      host: '127.0.0.1',
      port: proxyPort,
      method,
      path: url,
      headers: { Host: new URL(url).host, ...headers },
      agent: false,
    })
    outgoing.on('error', () => resolve({ status: 0, headers: {}, body: Buffer.alloc(0), complete: false }))
    outgoing.once('response', (message) => {
      message.on('data', (chunk: Buffer) => {
        chunks.push(chunk)
        length += chunk.length
        onChunk?.()
        if (length >= leavesAfter) message.destroy()
        if (pauseMs === 0) return
        message.pause()
        setTimeout(() => message.resume(), pauseMs)
      })
      message.on('error', () => undefined)
      message.once('close', () =>
        resolve({
          status: message.statusCode ?? 0,
          headers: message.headers,
          body: Buffer.concat(chunks),
          complete: message.complete,
        }),
      )
    })
    outgoing.end()
  })
}

/**
 * What is wrong with an answer, given the body that was asked for; undefined when it is right, or when it broke
 * off so that the client could see it and what came before was right.
 */
export function wrongWith(
  whole: Buffer,
  method: string,
  { status, headers, body, complete }: Proxied,
): string | undefined {
  if (status === 0) return undefined
  if (status !== 200 && status !== 206) return `status ${status}: ${body.toString()}`
  let expected = whole
  if (status === 206) {
    const [, from, to, size] = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(headers['content-range'] ?? '') ?? []
    if (size !== '*' && Number(size) !== whole.length) return `Content-Range ${headers['content-range']}`
    expected = whole.subarray(Number(from), Number(to) + 1)
  }
  const announced = headers['content-length']
  if (announced !== undefined && Number(announced) !== expected.length) return `Content-Length ${announced}`
  if (method === 'HEAD') return undefined
  if (complete && body.length !== expected.length) return `${body.length} of ${expected.length} bytes`
  if (!body.equals(expected.subarray(0, body.length))) return 'other bytes'
  return undefined
}
