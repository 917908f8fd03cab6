import { lookup } from 'node:dns'
import { isIP, type LookupFunction } from 'node:net'
import { networkInterfaces } from 'node:os'
import { DiscobotError, codeOf, reasonOf } from '../config/errors.js'
import type { Policy } from './policy.js'
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
  /** For `net.connect`: answers with the checked addresses and nothing else. */
  readonly lookup: LookupFunction
  /** Settles once the name is resolved and at least one of its addresses may be dialled. */
  check(): Promise<void>
}

export interface DialGuard {
  /**
   * A route to `target` that only leads to addresses `policy` allows. The name is resolved when first needed.
   *
   * @throws DialForbiddenError at once when the target is itself a forbidden address: a socket never looks
   *   up literal addresses.
   */
  route(target: Target, policy: Policy): Route
}

/** All addresses of a name, in the order to be tried. */
export type Resolve = (host: string) => Promise<readonly string[]>

export interface DialGuardDeps {
  readonly resolve: Resolve
  /** Whether one of our own listeners has that port: through us nobody may reach us. */
  readonly isOwnPort: (port: number) => boolean
}

export function createDialGuard({ resolve, isOwnPort }: DialGuardDeps): DialGuard {
  const refusal = (target: Target, policy: Policy, address: string): string | undefined =>
    isOwnPort(target.port) && isOurAddress(address)
      ? `${target.authority} is this proxy itself`
      : policy.address(target, address)

  return {
    route(target, policy) {
      if (target.isAddress) {
        const why = refusal(target, policy, target.host)
        if (why !== undefined) throw forbidden(target, why)
        return { target, lookup: fixed([target.host]), check: () => Promise.resolve() }
      }
      let resolved: Promise<readonly string[]> | undefined
      const addresses = (): Promise<readonly string[]> =>
        (resolved ??= resolve(target.host).then((all) =>
          allowedOf(target, all, (a) => refusal(target, policy, a)),
        ))
      return {
        target,
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
  }
}

/** The system's resolver: hosts file, DNS, whatever else is configured. @throws ResolveError */
export const systemResolve: Resolve = (host) =>
  new Promise((fulfil, reject) => {
    lookup(host, { all: true, verbatim: true }, (error, found) => {
      if (error === null) return fulfil(found.map(({ address }) => address))
      const why = codeOf(error) === 'ENOTFOUND' ? 'no such name' : (codeOf(error) ?? reasonOf(error))
      reject(new ResolveError(`cannot resolve ${host}: ${why}`, { cause: error }))
    })
  })

function allowedOf(
  target: Target,
  all: readonly string[],
  refusal: (address: string) => string | undefined,
): readonly string[] {
  const reasons = all.map(refusal)
  const allowed = all.filter((_address, index) => reasons[index] === undefined)
  if (allowed.length === 0) throw forbidden(target, reasons[0] ?? 'it has no address')
  return allowed
}

function forbidden(target: Target, why: string): DialForbiddenError {
  return new DialForbiddenError(`${target.host} may not be reached: ${why}`)
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

function isOurAddress(address: string): boolean {
  if (/^127\.|^::1$|^::$|^0\./.test(address)) return true
  return Object.values(networkInterfaces()).some((all) => all?.some((entry) => entry.address === address))
}
