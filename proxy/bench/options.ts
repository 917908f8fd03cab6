import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { reasonOf } from '../../base/errors.js'
import { UsageError } from './stage/errors.js'
import { MEASURES, type MeasureName } from './stage/metrics.js'
import { PEER_NAMES, type PeerName } from './peers/peer.js'

/** So that a run ends within its time. */
const MAX_ROUNDS = 9

export const USAGE = `Usage: npm run bench -- [--rounds N] [--only NAME,…] [--json FILE] [--profile DIR]

  --rounds N      1 to ${MAX_ROUNDS}; 5 unless given. The table shows medians over all rounds.
  --only NAME,…   these peers (${PEER_NAMES.join(', ')}) and
                  these measures (${MEASURES.join(', ')}); of a kind that is not named, all.
  --json FILE     writes every sample there.
  --profile DIR   ours leave a CPU profile there (Chrome's format); the figures suffer.
`

export interface BenchOptions {
  readonly help: boolean
  readonly rounds: number
  readonly peers: readonly PeerName[]
  readonly measures: readonly MeasureName[]
  readonly jsonFile?: string
  readonly profileFolder?: string
}

/** @throws UsageError */
export function parseOptions(args: readonly string[]): BenchOptions {
  const values = parse(args)
  const rounds = Number(values.rounds ?? 5)
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > MAX_ROUNDS) {
    throw new UsageError(`cannot use --rounds ${values.rounds}: it is a whole number from 1 to ${MAX_ROUNDS}`)
  }
  const only = (values.only ?? []).flatMap((names) => names.split(','))
  const peers = PEER_NAMES.filter((name) => only.includes(name))
  const measures = MEASURES.filter((name) => only.includes(name))
  const unknown = only.find((name) => ![...peers, ...measures].some((known) => known === name))
  if (unknown !== undefined) {
    throw new UsageError(
      `cannot use --only ${unknown}: the peers are ${PEER_NAMES.join(', ')}, the measures ${MEASURES.join(', ')}`,
    )
  }
  return {
    help: values.help ?? false,
    rounds,
    peers: peers.length === 0 ? PEER_NAMES : peers,
    measures: measures.length === 0 ? MEASURES : measures,
    ...(values.json === undefined ? {} : { jsonFile: values.json }),
    ...(values.profile === undefined ? {} : { profileFolder: resolve(values.profile) }),
  }
}

function parse(args: readonly string[]): {
  readonly rounds?: string
  readonly only?: string[]
  readonly json?: string
  readonly profile?: string
  readonly help?: boolean
} {
  try {
    return parseArgs({
      args: [...args],
      options: {
        rounds: { type: 'string' },
        only: { type: 'string', multiple: true },
        json: { type: 'string' },
        profile: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    }).values
  } catch (error) {
    throw new UsageError(reasonOf(error), { cause: error })
  }
}
