import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram'
import { createServer, type Server, type Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import { entry, unattended } from '../../base/process/entry.js'
import { reasonOf } from '../../base/errors.js'
import type { Logger } from '../../base/log/logger.js'
import { isIPv6 } from '../../base/net/is-ipv6.js'
import { LOCALHOST_ADDRESSES } from '../../base/net/loopback.js'
import { CONTAINER_BRIDGE } from '../credentials/exposure.js'
import type { NameAnswers } from './answers.js'
import { readQuery, renderAnswer } from './query.js'

/** A question with EDNS and options has at most a few hundred bytes. */
const MAX_QUERY_BYTES = 1_024
/** What a flood of packets may have under way; beyond, they are lost, as packets may be. */
const MAX_UDP_UNDER_WAY = 256
const MAX_CONNECTIONS = 64
/** RFC 7766, 6.2.3: a few seconds. */
const IDLE_MS = 10_000
/** Docker makes bridges whenever somebody makes a network. */
const LOOK_MS = 2_000

export interface NameServerDeps {
  readonly port: number
  readonly answers: NameAnswers
  readonly logger: Logger
}

/**
 * client that asks any server for a name → packet filter → us → the proxy's own look-up
 *
 * Listens on loopback and on the bridges of nested containers, on each address by itself: an answer comes from the
 * address that was asked only where the socket is bound to it.
 */
export class NameServer {
  readonly #deps: NameServerDeps
  readonly #places = new Map<string, Place>()
  readonly #connections = new Set<Socket>()
  #timer: NodeJS.Timeout | undefined
  #underWay = 0

  constructor(deps: NameServerDeps) {
    this.#deps = deps
  }

  /** Resolves when it listens on loopback, or a line in the log says why it does not. Never rejects. */
  async start(): Promise<void> {
    this.#timer = setInterval(
      () => unattended(this.#deps.logger, 'addresses to answer names at', this.#look()),
      LOOK_MS,
    )
    this.#timer.unref()
    await this.#look()
  }

  stop(): void {
    clearInterval(this.#timer)
    for (const place of this.#places.values()) place.close()
    this.#places.clear()
    for (const socket of this.#connections) socket.destroy()
  }

  /** Begins where an address has come, and ends where one has gone. */
  async #look(): Promise<void> {
    const wanted = new Set(wantedAddresses())
    for (const [address, place] of this.#places) {
      if (wanted.has(address) && !place.failed) continue
      place.close()
      this.#places.delete(address)
    }
    const added = [...wanted].filter((address) => !this.#places.has(address))
    await Promise.all(added.map((address) => this.#listen(address)))
  }

  async #listen(address: string): Promise<void> {
    const udp = createSocket(isIPv6(address) ? 'udp6' : 'udp4')
    const { logger } = this.#deps
    const tcp = createServer(
      entry({ name: 'names over TCP', logger, ends: (socket) => socket }, (socket: Socket) =>
        this.#serve(socket),
      ),
    )
    tcp.maxConnections = MAX_CONNECTIONS
    const place = new Place(udp, tcp)
    this.#places.set(address, place)
    udp.on(
      'message',
      entry(
        { name: 'names over UDP', logger, ends: (_message: Buffer, _from: RemoteInfo) => undefined },
        async (message: Buffer, from: RemoteInfo) => {
          if (this.#underWay >= MAX_UDP_UNDER_WAY || message.length > MAX_QUERY_BYTES) return
          this.#underWay++
          const answer = await this.#answer(message, 'udp').finally(() => this.#underWay--)
          if (answer !== undefined && !place.closed)
            udp.send(answer, from.port, from.address, () => undefined)
        },
      ),
    )
    try {
      await place.listen(address, this.#deps.port)
    } catch (error) {
      place.failed = true
      this.#deps.logger.warn({ address, reason: reasonOf(error) }, 'names are not answered there')
    }
  }

  /** Undefined for what gets no answer. */
  async #answer(message: Buffer, transport: 'udp' | 'tcp'): Promise<Buffer | undefined> {
    const query = readQuery(message)
    if (query === undefined) return undefined
    const { rcode, addresses } = await this.#deps.answers.answer(query)
    return renderAnswer(query, rcode, addresses, transport)
  }

  /** RFC 1035, 4.2.2: a length before each message. One after another, so that nobody has more than one under way. */
  #serve(socket: Socket): void {
    this.#connections.add(socket)
    socket.on('error', () => undefined)
    socket.once('close', () => this.#connections.delete(socket))
    socket.setTimeout(IDLE_MS, () => socket.destroy())
    let waiting = Buffer.alloc(0)
    let busy = false
    const take = async (chunk: Buffer): Promise<void> => {
      waiting = Buffer.concat([waiting, chunk])
      if (busy) return
      busy = true
      socket.pause()
      while (waiting.length >= 2) {
        const end = 2 + waiting.readUInt16BE(0)
        if (end > 2 + MAX_QUERY_BYTES) return void socket.destroy()
        if (waiting.length < end) break
        const answer = await this.#answer(waiting.subarray(2, end), 'tcp')
        waiting = waiting.subarray(end)
        if (answer === undefined) return void socket.destroy()
        await written(socket, answer)
      }
      busy = false
      socket.resume()
    }
    socket.on(
      'data',
      entry({ name: 'names over TCP', logger: this.#deps.logger, ends: (_chunk: Buffer) => socket }, take),
    )
  }
}

/** Resolves when the kernel has it, or nobody reads it any more. */
function written(socket: Socket, message: Buffer): Promise<void> {
  const length = Buffer.alloc(2)
  length.writeUInt16BE(message.length, 0)
  return new Promise((resolve) => socket.write(Buffer.concat([length, message]), () => resolve()))
}

/** The two sockets at one address. */
class Place {
  failed = false
  closed = false

  constructor(
    private readonly udp: UdpSocket,
    private readonly tcp: Server,
  ) {
    udp.on('error', () => (this.failed = true))
    tcp.on('error', () => (this.failed = true))
  }

  async listen(address: string, port: number): Promise<void> {
    await Promise.all([
      new Promise<void>((resolve, reject) => {
        this.udp.once('error', reject)
        this.udp.bind({ address, port, exclusive: true }, resolve)
      }),
      new Promise<void>((resolve, reject) => {
        this.tcp.once('error', reject)
        this.tcp.listen({ host: address, port }, resolve)
      }),
    ])
    this.udp.unref()
    this.tcp.unref()
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    // One that could not be bound is closed by itself.
    try {
      this.udp.close()
    } catch {
      this.failed = true
    }
    this.tcp.close()
  }
}

function wantedAddresses(): string[] {
  const interfaces = Object.entries(networkInterfaces())
  const present = new Set(interfaces.flatMap(([, entries]) => (entries ?? []).map(({ address }) => address)))
  const bridges = interfaces
    .filter(([name]) => CONTAINER_BRIDGE.test(name))
    .flatMap(([, entries]) => (entries ?? []).filter(({ address }) => !address.startsWith('fe80:')))
  return [
    ...LOCALHOST_ADDRESSES.filter((address) => present.has(address)),
    ...bridges.map(({ address }) => address),
  ]
}
