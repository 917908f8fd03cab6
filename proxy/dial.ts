import { lookup } from 'node:dns'
import { isIP, type LookupFunction } from 'node:net'
import { networkInterfaces } from 'node:os'
import { DiscobotError, codeOf, reasonOf } from '../config/errors.js'
import { compileIpSet } from '../config/ip-set.js'
import type { Finding } from './finding.js'
import type { AddressJudge, AddressVerdict } from './policy.js'
import type { Target } from './target.js'

/** The operator's rules, or our own safety, forbid every address of the host. Answered with 403. */
export class DialForbiddenError extends DiscobotError {
  override readonly code = 'DIAL_FORBIDDEN'
}

/** The host's name has no address. Answered with 502. */
export class ResolveError extends DiscobotError {
  override readonly code = 'RESOLVE_FAILED'
}

/** Where a target may be dialled. Resolved once: what was checked is what is dialled (DNS rebinding). */
export interface Route {
  readonly target: Target
  /** The configuration has something to say about its addresses. */
  readonly judgesAddresses: boolean
  /** For `net.connect`: answers with the checked addresses and nothing else. */
  readonly lookup: LookupFunction
  /** Whether a connection that leads to `address` already may be used for this. */
  readonly admits: (address: string | undefined) => boolean
  /** Settles once the name is resolved and at least one of its addresses may be dialled. */
  check(): Promise<void>
}

export interface DialGuard {
  /**
   * A route to `target` that only leads to addresses `judge` allows. The name is resolved when first needed.
   *
   * @param observed is told when a route leads to an address for no better reason than the mode `observe`.
   * @throws DialForbiddenError at once when the target is itself a forbidden address: a socket never looks
   *   up literal addresses.
   */
  route(target: Target, judge: AddressJudge, observed?: (finding: Finding) => void): Route
  /** Every address of `target` with what would become of it. @throws ResolveError */
  judgeAll(target: Target, judge: AddressJudge): Promise<readonly JudgedAddress[]>
}

export interface JudgedAddress {
  readonly address: string
  readonly verdict: AddressVerdict
}

/** All addresses of a name, in the order to be tried. */
export type Resolve = (host: string) => Promise<readonly string[]>

export interface DialGuardDeps {
  readonly resolve: Resolve
  /** Whether one of our own listeners has that port: through us nobody may reach us. */
  readonly isOwnPort: (port: number) => boolean
}

export function createDialGuard({ resolve, isOwnPort }: DialGuardDeps): DialGuard {
  const judged = (target: Target, judge: AddressJudge, address: string): JudgedAddress =>
    isOwnPort(target.port) && isOurAddress(address)
      ? { address, verdict: { action: 'refuse', finding: ownFinding(target) } }
      : { address, verdict: judge.address(address) }

  return {
    route(target, judge, observed) {
      const dialled = (all: readonly string[]): readonly string[] =>
        dialledOf(
          target,
          all.map((address) => judged(target, judge, address)),
          observed,
        )
      const judgesAddresses = judge.isSelective
      const admits = (address: string | undefined): boolean =>
        address !== undefined &&
        (!judgesAddresses || judged(target, judge, address).verdict.action !== 'refuse')
      if (target.isAddress) {
        return {
          target,
          judgesAddresses,
          admits,
          lookup: fixed(dialled([target.host])),
          check: () => Promise.resolve(),
        }
      }
      let resolved: Promise<readonly string[]> | undefined
      const addresses = (): Promise<readonly string[]> => (resolved ??= resolve(target.host).then(dialled))
      return {
        target,
        judgesAddresses,
        admits,
        lookup: (_host, options, callback) => {
          addresses().then(
            (checked) => fixed(checked)(_host, options, callback),
            (error: unknown) => callback(error as NodeJS.ErrnoException, ''),
          )
        },
        check: async () => {
          await addresses()
        },
      }
    },
    async judgeAll(target, judge) {
      const all = target.isAddress ? [target.host] : await resolve(target.host)
      return all.map((address) => judged(target, judge, address))
    },
  }
}

/** The system's resolver: hosts file, DNS, whatever else is configured. @throws ResolveError */
export const systemResolve: Resolve = (host) =>
  new Promise((fulfil, reject) => {
    lookup(host, { all: true, verbatim: true }, (error, found) => {
      if (error === null) return fulfil(found.map(({ address }) => address))
      reject(unresolved(host, error))
    })
  })

/** @param error the resolver's. */
export function unresolved(host: string, error: unknown): ResolveError {
  const code = codeOf(error)
  const why = code === 'ENOTFOUND' ? 'no such name (ENOTFOUND)' : (code ?? reasonOf(error))
  return new ResolveError(`cannot resolve ${host}: ${why}`, { cause: error })
}

/** What `observe` alone lets through is dialled only where `enforce` would leave nothing. */
function dialledOf(
  target: Target,
  all: readonly JudgedAddress[],
  observed: ((finding: Finding) => void) | undefined,
): readonly string[] {
  const allowed = all.filter(({ verdict }) => verdict.action === 'allow')
  if (allowed.length > 0) return allowed.map(({ address }) => address)
  const tolerated = withFinding(all, 'observe')
  if (tolerated[0] !== undefined) {
    observed?.(tolerated[0].finding)
    return tolerated.map(({ address }) => address)
  }
  const [refused] = withFinding(all, 'refuse')
  if (refused === undefined) throw new ResolveError(`cannot resolve ${target.host}: it has no address`)
  throw new DialForbiddenError(`${target.host} may not be reached: ${refused.finding.reason}`)
}

function withFinding(
  all: readonly JudgedAddress[],
  action: 'observe' | 'refuse',
): readonly { readonly address: string; readonly finding: Finding }[] {
  return all.flatMap(({ address, verdict }) =>
    verdict.action === action ? [{ address, finding: verdict.finding }] : [],
  )
}

function ownFinding(target: Target): Finding {
  return { option: [], reason: `${target.authority} is this proxy itself` }
}

/** A lookup that has its answer already; both of the forms `net.connect` asks in. */
function fixed(addresses: readonly string[]): LookupFunction {
  const found = addresses.map((address) => ({ address, family: isIP(address) }))
  return (host, options, callback) => {
    const wanted = found.filter(({ family }) => !options.family || options.family === family)
    const [first] = wanted
    if (options.all === true) return callback(null, wanted)
    if (first === undefined) return callback(new ResolveError(`cannot resolve ${host}: no such address`), '')
    callback(null, first.address, first.family)
  }
}

/** Where a connection ends up on this machine whatever its interfaces. */
const LOOPBACK = compileIpSet(['127.0.0.0/8', '0.0.0.0/8', '::1', '::'])

/** Whether `address` is one of this machine's. */
export function isOurAddress(address: string): boolean {
  if (LOOPBACK.has(address)) return true
  const interfaces = Object.values(networkInterfaces()).flatMap((all) => all ?? [])
  // As a set: an IPv4 address may be written as an IPv6 one.
  return compileIpSet(interfaces.map((entry) => entry.address)).has(address)
}
