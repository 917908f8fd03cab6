import type { Origin } from './origin.js'
import type { Stage } from '../stage/stage.js'

/** What the table calls them, in the order of its columns. */
export const PEER_TITLES = {
  discobot: 'discobot',
  bundle: 'bundle',
  squid: 'squid',
  stock: 'http-mitm-proxy',
  nginx: 'nginx direct',
} as const

export type PeerName = keyof typeof PEER_TITLES

export const PEER_NAMES = Object.keys(PEER_TITLES) as readonly PeerName[]

/** Something that serves the origin's blobs, started and waiting. */
export interface Peer {
  readonly name: PeerName
  /** Whose certificates it shows. */
  readonly caFile: string
  readonly ca: string
  /** Absent for the origin itself. */
  readonly proxyPort?: number
  readonly pid: number
  readonly caches: boolean
  stop(): Promise<void>
}

export interface PeerDeps {
  readonly stage: Stage
  readonly origin: Origin
  /** Paths of programs, found before anything starts. */
  /** Where ours leave a CPU profile when they end. */
  readonly profileFolder?: string
  readonly find: (program: string) => string | undefined
}

/** @throws PeerUnavailableError, which says what is missing. */
export type StartPeer = (deps: PeerDeps) => Promise<Peer>
