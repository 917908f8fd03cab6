import { canonicalHost, isAddress } from '../../base/net/host-name.js'
import { parseIpAddress } from '../../base/net/ip-address.js'
import { codeOf } from '../../base/errors.js'
import { ResolveError, type Resolve } from '../policy/route-guard.js'
import type { AddressJudge } from '../policy/policy.js'
import { RCODE, TYPE_A, TYPE_AAAA, type Query, type Rcode } from './query.js'

/** Of the places that requests have for their own names; who floods us is not to have all. */
const MOST_AT_A_TIME = 16

export interface NameAnswersDeps {
  /** What judges the addresses of a name; undefined for one of which nothing may be had. */
  readonly judge: (host: string) => AddressJudge | undefined
  readonly resolve: Resolve
}

export interface NameAnswer {
  readonly rcode: Rcode
  readonly addresses: readonly Buffer[]
}

/**
 * Answers for names of which the policy lets something be had, with addresses that may be dialled. No other name is
 * looked up: the question itself would tell a secret to whoever serves the zone.
 */
export class NameAnswers {
  readonly #deps: NameAnswersDeps
  readonly #underWay = new Map<string, Promise<readonly string[]>>()

  constructor(deps: NameAnswersDeps) {
    this.#deps = deps
  }

  /** Never rejects. */
  async answer({ name, type, fault }: Query): Promise<NameAnswer> {
    if (fault !== undefined) return empty(fault)
    const host = /^[\x21-\x7e]+$/.test(name) ? canonicalHost(name) : undefined
    // The root, and what is written as an address, is nobody's name.
    if (host === undefined || isAddress(host)) return empty(RCODE.refused)
    const judge = this.#deps.judge(host)
    if (judge === undefined) return empty(RCODE.refused)
    // Whoever has only the one address does not look for the other, or for anything besides.
    if (type !== TYPE_A && type !== TYPE_AAAA) return empty(RCODE.ok)
    let all: readonly string[]
    try {
      all = await this.#lookUp(host)
    } catch (error) {
      return empty(isUnknown(error) ? RCODE.unknown : RCODE.failed)
    }
    const verdicts = all.map((address) => ({ address, ...judge.address(address) }))
    const allowed = verdicts.filter(({ action }) => action === 'allow')
    const dialled = allowed.length > 0 ? allowed : verdicts.filter(({ action }) => action === 'observe')
    if (dialled.length === 0) return empty(RCODE.refused)
    return { rcode: RCODE.ok, addresses: dialled.flatMap(({ address }) => bytesOf(address, type)) }
  }

  #lookUp(host: string): Promise<readonly string[]> {
    const underWay = this.#underWay.get(host)
    if (underWay !== undefined) return underWay
    if (this.#underWay.size >= MOST_AT_A_TIME) return Promise.reject(new Error('too many names at a time'))
    const begun = this.#deps.resolve(host).finally(() => this.#underWay.delete(host))
    this.#underWay.set(host, begun)
    return begun
  }
}

function empty(rcode: Rcode): NameAnswer {
  return { rcode, addresses: [] }
}

/** As getaddrinfo(3) says it, which does not tell a name without addresses from one that is not there. */
function isUnknown(error: unknown): boolean {
  return error instanceof ResolveError && ['ENOTFOUND', 'ENODATA'].includes(codeOf(error.cause) ?? '')
}

/** Those of that type, in network order. */
function bytesOf(address: string, type: number): Buffer[] {
  const parsed = parseIpAddress(address)
  if (parsed?.family !== (type === TYPE_A ? 4 : 6)) return []
  const digits = parsed.family === 4 ? 8 : 32
  return [Buffer.from(parsed.bits.toString(16).padStart(digits, '0'), 'hex')]
}
