import type { Socket } from 'node:net'
import type { Asked } from './access-rules.js'
import { isFromLoopback } from '../message/client-address.js'
import type { DialGuard, Route } from './route-guard.js'
import type { Finding } from './finding.js'
import type { Observations } from './observations.js'
import { BlockedError, type Policy } from './policy.js'
import type { Target } from '../../base/net/target.js'

/** Something that the policy lets happen. */
export interface Admission {
  readonly target: Target
  readonly asked: Asked
  /** Leads to allowed addresses only. */
  readonly route: Route
  /** The route must be checked before anything is answered, even if nothing is dialled. */
  readonly byAddress: boolean
  /** What the mode `observe` let through; grows when the route is resolved. */
  readonly findings: readonly Finding[]
}

interface GateDeps {
  readonly policy: () => Policy
  readonly guard: DialGuard
  readonly observations: Observations
}

/** The one way to a route: nothing is dialled that the policy has not judged. */
export class Gate {
  readonly #deps: GateDeps

  constructor(deps: GateDeps) {
    this.#deps = deps
  }

  /**
   * @param client the TCP connection of whoever asks.
   * @throws BlockedError, or DialForbiddenError for an address that is itself forbidden.
   */
  admit(target: Target, asked: Asked, client: Socket): Admission {
    const policy = this.#deps.policy()
    const verdict = policy.judge(target, asked)
    if (verdict.action === 'block') {
      throw new BlockedError(`${target.host} may not be reached: ${verdict.finding.reason}`)
    }
    const findings: Finding[] = verdict.wouldBlock === undefined ? [] : [verdict.wouldBlock]
    // Who can reach us over a network cannot reach what listens on loopback, and shall not by way of us.
    const barred = !isFromLoopback(client) && !policy.egress.opensOwn(target.port)
    const route = this.#deps.guard.route(target, verdict, barred, (finding) => findings.push(finding))
    return { target, asked, route, byAddress: verdict.byAddress || route.isGuarded, findings }
  }

  /**
   * Whether `site`, by the name a client gives it inside a tunnel, is where the tunnel leads: `address`. A name that the
   * policy blocks is not even looked up, since the question itself can tell a secret to whoever serves the zone.
   *
   * @throws BlockedError
   */
  leadsTo(site: Target, address: string, client: Socket): Promise<boolean> {
    this.admit(site, { kind: 'tunnel' }, client)
    return this.#deps.guard.leadsTo(site.host, address)
  }

  /** Whether tunnels to that port may be opened at all. @throws BlockedError */
  assertTunnelPort({ host, port }: Target): void {
    const finding = this.#deps.policy().egress.tunnelPort(port)
    if (finding !== undefined) throw new BlockedError(`${host} may not be reached: ${finding.reason}`)
  }

  passesThrough(target: Target): boolean {
    return this.#deps.policy().passesThrough(target)
  }

  /** Whether any address is refused by the configuration, so that it is worth asking for them early. */
  get judgesAddresses(): boolean {
    return this.#deps.policy().egress.judgesAddresses
  }

  /** Once what was admitted happens: records what `observe` let through. */
  record({ target, asked, findings }: Admission): void {
    for (const finding of findings) this.#deps.observations.record(target, asked, finding)
  }
}
