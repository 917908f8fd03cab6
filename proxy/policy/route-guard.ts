import { lookup } from 'node:dns'
import { isIP, type LookupFunction } from 'node:net'
import { DiscobotError, codeOf, reasonOf } from '../../base/errors.js'
import { canonicalHost } from '../../base/net/host-name.js'
import type { Finding } from './finding.js'
import type { AddressJudge, AddressVerdict } from './policy.js'
import type { Target } from '../../base/net/target.js'

/** The operator's rules, or our own safety, forbid every address of the host. Answered with 403. */
export class DialForbiddenError extends DiscobotError {
  override readonly code = 'DIAL_FORBIDDEN'
}

/** The host's name has no address. Answered with 502. */
export class ResolveError extends DiscobotError {
  override readonly code = 'RESOLVE_FAILED'
}

/** Nobody has told in time whether the host's name has an address. Answered with 504. */
export class SilentNameError extends ResolveError {}

/** Where a target may be dialled. Resolved once: what was checked is what is dialled (DNS rebinding). */
export interface Route {
  readonly target: Target
  /** Not every address may be dialled: the configuration says so, or our own machine is kept from it. */
  readonly judgesAddresses: boolean
  /** Our own machine is kept from it, so its addresses must be known before anything is answered. */
  readonly isGuarded: boolean
  /** For `net.connect`: answers with the checked addresses and nothing else. */
  readonly lookup: LookupFunction
  /** Whether a connection that leads to `address` already may be used for this. */
  readonly admits: (address: string | undefined) => boolean
  /**
   * Settles once the name is resolved and at least one of its addresses may be dialled. A name without an address is
   * refused only where the configuration judges addresses: it is none of our own machine's.
   */
  check(): Promise<void>
}

export interface DialGuard {
  /**
   * A route to `target` that only leads to addresses `judge` allows. The name is resolved when first needed.
   *
   * @param barred whether this machine's own addresses are out of reach. Our own listeners always are.
   * @param observed is told when a route leads to an address for no better reason than the mode `observe`.
   * @throws DialForbiddenError at once when the target is itself a forbidden address: a socket never looks
   *   up literal addresses.
   */
  route(target: Target, judge: AddressJudge, barred: boolean, observed?: (finding: Finding) => void): Route
  /** Whether `address`, in canonical form, is among those of the name. */
  leadsTo(name: string, address: string): Promise<boolean>
  /** Every address of `target` with what would become of it. @throws ResolveError */
  judgeAll(target: Target, judge: AddressJudge, barred: boolean): Promise<readonly JudgedAddress[]>
}

export interface JudgedAddress {
  readonly address: string
  readonly verdict: AddressVerdict
}

/** All addresses of a name, in the order to be tried. */
export type Resolve = (host: string) => Promise<readonly string[]>

export interface DialGuardDeps {
  readonly resolve: Resolve
  /** Whether one of Discobot's own listeners has that port: through us nobody may reach it. */
  readonly isOwnPort: (port: number) => boolean
  /** Whether an address is one of this machine's. */
  readonly isOwnAddress: (address: string) => boolean
}

export function createDialGuard({ resolve, isOwnPort, isOwnAddress }: DialGuardDeps): DialGuard {
  const judged = (target: Target, judge: AddressJudge, barred: boolean, address: string): JudgedAddress => {
    const own = isOwnPort(target.port)
    const finding =
      (own || barred) && isOwnAddress(address)
        ? own
          ? ownFinding(target)
          : barredFinding(address)
        : undefined
    return {
      address,
      verdict: finding === undefined ? judge.address(address) : { action: 'refuse', finding },
    }
  }

  return {
    route(target, judge, barred, observed) {
      const dialled = (all: readonly string[]): readonly string[] =>
        dialledOf(
          target,
          all.map((address) => judged(target, judge, barred, address)),
          observed,
        )
      const isGuarded = barred || isOwnPort(target.port)
      const judgesAddresses = isGuarded || judge.isSelective
      const admits = (address: string | undefined): boolean =>
        address !== undefined &&
        (!judgesAddresses || judged(target, judge, barred, address).verdict.action !== 'refuse')
      if (target.isAddress) {
        return {
          target,
          judgesAddresses,
          isGuarded,
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
        isGuarded,
        admits,
        lookup: (_host, options, callback) => {
          addresses().then(
            (checked) => fixed(checked)(_host, options, callback),
            (error: unknown) => callback(error as NodeJS.ErrnoException, ''),
          )
        },
        check: async () => {
          try {
            await addresses()
          } catch (error) {
            if (judge.isSelective || !(error instanceof ResolveError)) throw error
          }
        },
      }
    },
    async leadsTo(name, address) {
      try {
        return (await resolve(name)).some((found) => canonicalHost(found) === address)
      } catch (error) {
        if (error instanceof ResolveError) return false
        throw error
      }
    },
    async judgeAll(target, judge, barred) {
      const all = target.isAddress ? [target.host] : await resolve(target.host)
      return all.map((address) => judged(target, judge, barred, address))
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

/** For `net.connect`, where every address may be dialled. */
export function lookupBy(resolve: Resolve): LookupFunction {
  return (host, options, callback) => {
    resolve(host).then(
      (addresses) => fixed(addresses)(host, options, callback),
      (error: unknown) => callback(error as NodeJS.ErrnoException, ''),
    )
  }
}

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
  return { option: [], reason: `${target.authority} is this proxy itself, or another service of Discobot` }
}

function barredFinding(address: string): Finding {
  const reason = `${address} is this machine, of which clients from elsewhere reach only what egress.own_ports names`
  return { option: ['egress', 'own_ports'], reason }
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
