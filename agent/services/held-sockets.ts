import { readFileSync, writeFileSync } from 'node:fs'
import * as net from 'node:net'
import { getSystemErrorName } from 'node:util'
import { DiscobotError } from '../../base/errors.js'
import { isIPv6 } from '../../base/net/is-ipv6.js'
import type { HeldListener } from '../../base/process/held-listeners.js'

/** A port of ours cannot be had. */
export class PortTakenError extends DiscobotError {
  readonly code = 'PORT_TAKEN'

  constructor(
    message: string,
    /** `EADDRINUSE` and the like. */
    readonly errno: string,
    readonly address: SocketAddress,
  ) {
    super(message)
  }
}

export interface SocketAddress {
  readonly host: string
  readonly port: number
}

/** What Node's own cluster module binds with: a server would also listen, and take connections of the service's. */
interface BoundHandle {
  readonly fd: number
  getsockname(into: object): number
  close(): void
}
type Bind = (host: string, port: number, family: 4 | 6) => BoundHandle | number

/** Those below are standard streams, handover and readiness. */
const FIRST_FD = 5
const NONLOCAL = '/proc/sys/net/ipv4/ip_nonlocal_bind'

/**
 * The listening sockets of a service, bound in process 1, which keeps them: between two processes of the service
 * nobody else can have the ports, and who connects waits for the next one. The first process listens on them; from
 * then on they listen whether it lives or not (listen(2) acts on the socket, not on the descriptor).
 */
export class HeldSockets {
  /** All that were asked for, in their order. */
  readonly wanted: readonly SocketAddress[]
  readonly #addresses: readonly SocketAddress[]
  readonly #handles: readonly BoundHandle[]
  #standIns: net.Server[] = []
  #wanted = true

  private constructor(
    wanted: readonly SocketAddress[],
    addresses: readonly SocketAddress[],
    handles: readonly BoundHandle[],
  ) {
    this.wanted = wanted
    this.#addresses = addresses
    this.#handles = handles
  }

  /**
   * @param mayBeAbsent an address may be none of this machine's yet, as a bridge that dockerd will make; left to the
   *   service where the kernel lets nobody bind it now.
   * @throws PortTakenError
   */
  static bind(
    wanted: readonly SocketAddress[],
    mayBeAbsent: (address: SocketAddress) => boolean = () => false,
  ): HeldSockets {
    const bound: SocketAddress[] = []
    const handles: BoundHandle[] = []
    try {
      for (const address of wanted) {
        const handle = mayBeAbsent(address) ? bindAbsent(address) : bindOne(address)
        if (handle === undefined) continue
        handles.push(handle)
        bound.push(address)
      }
    } catch (error) {
      for (const handle of handles) handle.close()
      throw error
    }
    return new HeldSockets(wanted, bound, handles)
  }

  /** As the service's processes get them. */
  get listeners(): readonly HeldListener[] {
    return this.#addresses.map(({ host, port }, index) => ({ fd: FIRST_FD + index, host, port }))
  }

  /** For the standard streams of a process, by number of descriptor. */
  stdio(fd: number): number | undefined {
    return this.#handles[fd - FIRST_FD]?.fd
  }

  get lastFd(): number {
    return FIRST_FD + this.#handles.length - 1
  }

  /** No process of the service will come: whoever connects is told at once, where it would wait for ever. */
  async refuse(): Promise<void> {
    this.#wanted = false
    // To dup(2) takes koffi, which a start has no time to load.
    const duplicate = await loadDup()
    if (this.#wanted || duplicate === undefined || this.#standIns.length > 0) return
    this.#standIns = this.#handles.map(({ fd }) => {
      const standIn = net.createServer((socket) => socket.on('error', () => undefined).resetAndDestroy())
      standIn.on('error', () => undefined)
      return standIn.listen({ fd: duplicate(fd) })
    })
  }

  /** A process of the service takes the connections again. */
  resume(): void {
    this.#wanted = true
    for (const standIn of this.#standIns) standIn.close()
    this.#standIns = []
  }

  close(): void {
    this.resume()
    for (const handle of this.#handles) handle.close()
  }
}

function bindOne(address: SocketAddress): BoundHandle {
  const bound = tryBind(address)
  if (typeof bound !== 'string') return bound
  throw new PortTakenError(`cannot listen on ${address.host}:${address.port}: ${bound}`, bound, address)
}

function tryBind({ host, port }: SocketAddress): BoundHandle | string {
  const { _createServerHandle: bind } = net as unknown as { readonly _createServerHandle: Bind }
  const handle = bind(host, port, isIPv6(host) ? 6 : 4)
  if (typeof handle === 'number') return getSystemErrorName(handle)
  // libuv keeps EADDRINUSE back until it is asked for something else.
  const error = handle.getsockname({})
  if (error === 0) return handle
  handle.close()
  return getSystemErrorName(error)
}

/** ip(7): with it an address can be bound before there is one. It is put back at once. */
function bindAbsent(address: SocketAddress): BoundHandle | undefined {
  const bound = tryBind(address)
  if (typeof bound !== 'string') return bound
  if (bound !== 'EADDRNOTAVAIL' || isIPv6(address.host)) return undefined
  try {
    const before = readFileSync(NONLOCAL, 'utf8')
    writeFileSync(NONLOCAL, '1')
    try {
      const again = tryBind(address)
      return typeof again === 'string' ? undefined : again
    } finally {
      writeFileSync(NONLOCAL, before)
    }
  } catch {
    // Read-only in a container without privileges.
    return undefined
  }
}

async function loadDup(): Promise<((fd: number) => number) | undefined> {
  try {
    const { default: koffi } = await import('koffi')
    const dup = koffi.load(null).func('int dup(int fd)')
    return (fd) => Number(dup(fd))
  } catch {
    return undefined
  }
}
