import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { Test } from 'tap'
import type { TestProxy } from '../../../test/lab/harness.js'
import { Conversation, type Answer } from './conversation.js'
import type { Witness } from './witness.js'

/** In absolute form, in TLS that CONNECT led to, and in SOCKS5 with and without TLS. */
export const WAYS = ['plain', 'CONNECT', 'SOCKS', 'TLS in SOCKS'] as const
export type Way = (typeof WAYS)[number]

export const isSecure = (way: Way): boolean => way === 'CONNECT' || way === 'TLS in SOCKS'

/** Where a row's request goes, in the words of the way it takes. */
export interface Place {
  readonly way: Way
  /** `host:port` of the origin. */
  readonly at: string
  readonly port: number
  /** Its path below the row's own: so the origin tells whose request it saw. */
  path(name?: string): string
  /** The same as a request target: absolute where the proxy is asked directly. */
  url(name?: string): string
  /** A request with a Host header and `fields`, each ended by CRLF, and a body. */
  request(method: string, fields?: string, body?: string, name?: string): string
}

export function placeOf(way: Way, witness: Witness, host: string, row: string): Place {
  const port = isSecure(way) ? witness.httpsPort : witness.httpPort
  const at = `${host}:${port}`
  const path = (name = ''): string => `/${row}${name}`
  const url = (name?: string): string => (way === 'plain' ? `http://${at}${path(name)}` : path(name))
  return {
    way,
    at,
    port,
    path,
    url,
    request: (method, fields = '', body = '', name = '') =>
      `${method} ${url(name)} HTTP/1.1\r\nHost: ${at}\r\n${fields}\r\n${body}`,
  }
}

/** How a client comes to where it may send requests; refused on the way there, `refused` says with what. */
type Entry =
  | { readonly conversation: Conversation; readonly refused?: undefined }
  | { readonly refused: Answer | { readonly reply: number } | 'cut' }

interface EntryOptions {
  /** Absent: the host of the target, and none for an address. `false`: none. */
  readonly serverName?: string | false
  /** More fields for CONNECT. */
  readonly fields?: string
}

/** @param authority `host:port` as CONNECT and SOCKS are told it. */
export async function enter(
  t: Test,
  proxy: TestProxy,
  way: Way,
  authority: string,
  options: EntryOptions = {},
): Promise<Entry> {
  const socket = await open(t, proxy.port)
  switch (way) {
    case 'plain':
      return { conversation: new Conversation(socket) }
    case 'CONNECT': {
      const outer = new Conversation(socket)
      outer.send(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${options.fields ?? ''}\r\n`)
      const answer = await outer.answer('CONNECT')
      if (answer === 'cut' || answer.status !== 200) return { refused: answer }
      return secured(outer.release(), proxy, authority, options)
    }
    case 'SOCKS':
    case 'TLS in SOCKS': {
      const reply = await socksReply(socket, authority)
      if (reply === undefined) return { refused: 'cut' }
      if (reply !== 0) return { refused: { reply } }
      if (way === 'SOCKS') return { conversation: new Conversation(socket) }
      return secured(socket, proxy, authority, options)
    }
  }
}

/** The same where nothing should be in the way. */
export async function admitted(...asked: Parameters<typeof enter>): Promise<Conversation> {
  const entry = await enter(...asked)
  if (entry.refused === undefined) return entry.conversation
  throw new Error(`${asked[2]} to ${asked[3]} was refused: ${JSON.stringify(entry.refused)}`)
}

export async function open(t: Test, port: number): Promise<Socket> {
  const socket = connectTcp({ port, host: '127.0.0.1', noDelay: true })
  socket.on('error', () => undefined)
  t.teardown(() => socket.destroy())
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))
  return socket
}

async function secured(
  socket: Socket,
  proxy: TestProxy,
  authority: string,
  { serverName }: EntryOptions,
): Promise<Entry> {
  const host = authority.replace(/:\d*$/, '').replace(/^\[|\]$/g, '')
  const name = serverName ?? (isIP(host) === 0 ? host : false)
  const secure = connectTls({
    socket,
    ca: proxy.caPem,
    checkServerIdentity: () => undefined,
    ...(name === false ? {} : { servername: name }),
  })
  const done = await new Promise<boolean>((resolve) => {
    secure.once('secureConnect', () => resolve(true)).once('close', () => resolve(false))
    secure.on('error', () => resolve(false))
  })
  return done ? { conversation: new Conversation(secure) } : { refused: 'cut' }
}

/** The reply to a SOCKS5 CONNECT by name (RFC 1928); undefined where the proxy hung up. */
async function socksReply(socket: Socket, authority: string): Promise<number | undefined> {
  const colon = authority.lastIndexOf(':')
  const host = Buffer.from(authority.slice(0, colon), 'latin1')
  const port = Number(authority.slice(colon + 1))
  socket.write(Buffer.from([5, 1, 0]))
  socket.write(Buffer.from([5, 1, 0, 3, host.length, ...host, port >> 8, port & 0xff]))
  let bytes = Buffer.alloc(0)
  for (;;) {
    const chunk = socket.read() as Buffer | null
    if (chunk !== null) bytes = Buffer.concat([bytes, chunk])
    // The choice of method, and a reply with an IPv4 address in it.
    if (bytes.length >= 12) {
      if (bytes.length > 12) socket.unshift(bytes.subarray(12))
      return bytes[3]
    }
    if (socket.destroyed || socket.readableEnded) return undefined
    await new Promise<void>((resolve) => {
      const settle = (): void => {
        socket.off('readable', settle).off('end', settle).off('close', settle)
        resolve()
      }
      socket.on('readable', settle).on('end', settle).on('close', settle)
    })
  }
}
