import { KIB, MIB, GIB, type Blob, type Blobs } from './stage/blobs.js'
import { reasonOf } from '../../base/errors.js'
import { MeasureError, PeerUnavailableError } from './stage/errors.js'
import { measureFirstByte } from './measures/first-byte.js'
import { measureHandshakes } from './measures/handshake.js'
import { measureHerd } from './measures/herd.js'
import type { Subject } from './measures/measure.js'
import { measureIdleMemory, measureSlowReaders } from './measures/memory.js'
import { measureSmallHits } from './measures/small-hits.js'
import { measureHits, measureMiss } from './measures/transfer.js'
import { newHost } from './stage/hosts.js'
import type { MeasureName } from './stage/metrics.js'
import type { BenchOptions } from './options.js'
import { startOrigin } from './peers/origin.js'
import { PEERS } from './peers/all.js'
import { PEER_TITLES, type Peer, type PeerDeps, type PeerName } from './peers/peer.js'
import type { Results } from './results.js'
import type { Stage } from './stage/stage.js'

const LARGE_BYTES = 256 * MIB
const HERD_BYTES = 8 * MIB
const COLD_BYTES = MIB
const COLD_PER_ROUND = 10
export const HOSTS_PER_ROUND = 50
/** Stock makes an RSA key for each host, a third of a second long. */
const STOCK_HOSTS_PER_ROUND = 10

/** What nobody may have been asked for before. */
interface RoundBlobs {
  readonly large: Blob
  readonly herd: Blob
  readonly cold: readonly Blob[]
}

export interface RunDeps {
  readonly stage: Stage
  readonly results: Results
  readonly options: BenchOptions
  readonly find: (program: string) => string | undefined
  /** One line of progress. */
  readonly say: (line: string) => void
}

/**
 * Measures all peers in rounds, one after the other within each, in another order each time. Everything started
 * belongs to the stage, whose owner clears it.
 *
 * @throws PeerUnavailableError when there is no origin to measure with.
 */
export async function runBench({ stage, results, options, find, say }: RunDeps): Promise<void> {
  const { rounds, measures } = options
  const nginx = find('nginx')
  if (nginx === undefined) {
    throw new PeerUnavailableError('cannot measure without nginx as origin: apt-get install nginx-light')
  }
  const missing = ['openssl', 'curl', 'hey'].filter((program) => find(program) === undefined)
  if (missing.length > 0) {
    throw new PeerUnavailableError(
      `cannot measure without ${missing.join(', ')}: apt-get install ${missing.join(' ')}`,
    )
  }
  const origin = await startOrigin(stage, nginx)
  const peers: Peer[] = []
  const profile = options.profileFolder === undefined ? {} : { profileFolder: options.profileFolder }
  const subject = (peer: Peer): Subject => ({
    peer,
    origin,
    add: (metric, value) => results.add(peer.name, metric, value),
  })
  for (const name of options.peers) {
    const peer = await startPeer(name, { stage, origin, find, ...profile }, say)
    if (peer === undefined) continue
    peers.push(peer)
    if (measures.includes('memory') && isProxy(peer)) await measureIdleMemory(subject(peer))
  }
  const small = await origin.blobs.random(KIB)
  for (let round = 0; round < rounds; round += 1) {
    const blobs = await makeBlobs(origin.blobs)
    for (const peer of rotated(peers, round)) {
      say(`round ${round + 1} of ${rounds}: ${PEER_TITLES[peer.name]}`)
      await measureRound(subject(peer), round, blobs, small, measures, say)
    }
  }
  if (measures.includes('memory')) {
    const huge = await origin.blobs.sparse(GIB)
    for (const peer of peers.filter(isProxy)) {
      say(`slow readers: ${PEER_TITLES[peer.name]}`)
      await attempt(`${PEER_TITLES[peer.name]}, slow readers`, say, () =>
        measureSlowReaders(subject(peer), huge),
      )
      await peer.stop()
    }
  }
}

async function startPeer(
  name: PeerName,
  deps: PeerDeps,
  say: (line: string) => void,
): Promise<Peer | undefined> {
  try {
    return await PEERS[name](deps)
  } catch (error) {
    if (!(error instanceof PeerUnavailableError)) throw error
    say(`without ${name}: ${error.message}`)
    return undefined
  }
}

async function measureRound(
  subject: Subject,
  round: number,
  { large, cold, herd }: RoundBlobs,
  small: Blob,
  measures: readonly MeasureName[],
  say: (line: string) => void,
): Promise<void> {
  const { peer } = subject
  const hosts = Array.from({ length: HOSTS_PER_ROUND }, (_, index) =>
    newHost(round * HOSTS_PER_ROUND + index),
  )
  const work: Readonly<Record<MeasureName, (() => Promise<void>) | undefined>> = {
    // Nothing misses without a proxy, and nothing hits without a cache.
    miss: isProxy(peer) ? () => measureMiss(subject, large) : undefined,
    hit: peer.caches || !isProxy(peer) ? () => measureHits(subject, large) : undefined,
    'first-byte': () => measureFirstByte(subject, cold),
    small: () => measureSmallHits(subject, small),
    handshake: () =>
      measureHandshakes(subject, peer.name === 'stock' ? hosts.slice(0, STOCK_HOSTS_PER_ROUND) : hosts),
    herd: isProxy(peer) ? () => measureHerd(subject, herd) : undefined,
    memory: undefined,
  }
  for (const measure of measures) {
    const run = work[measure]
    if (run !== undefined) await attempt(`${PEER_TITLES[peer.name]}, ${measure}`, say, run)
  }
}

/** One measure that fails leaves a gap in the table, with its reason, and not an empty table. */
async function attempt(what: string, say: (line: string) => void, run: () => Promise<void>): Promise<void> {
  try {
    await run()
  } catch (error) {
    if (!(error instanceof MeasureError)) throw error
    say(`${what}: ${reasonOf(error)}`)
  }
}

async function makeBlobs(blobs: Blobs): Promise<RoundBlobs> {
  const large = await blobs.random(LARGE_BYTES)
  const herd = await blobs.random(HERD_BYTES)
  const cold: Blob[] = []
  for (let made = 0; made < COLD_PER_ROUND; made += 1) cold.push(await blobs.random(COLD_BYTES))
  return { large, herd, cold }
}

function rotated<T>(items: readonly T[], by: number): readonly T[] {
  const start = items.length === 0 ? 0 : by % items.length
  return [...items.slice(start), ...items.slice(0, start)]
}

function isProxy({ proxyPort }: Peer): boolean {
  return proxyPort !== undefined
}
