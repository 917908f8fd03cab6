import type { AgentOptions } from '../settings/options.js'
import type { PacketFilter } from './packet-filter.js'
import type { WallFindings } from './wall-findings.js'

/** The operator's wish about the packet filter. */
type Wanted =
  | { readonly kind: 'must' }
  /** Where it can be had. */
  | { readonly kind: 'may' }
  | ({ readonly kind: 'no' } & Absence)

/** Why there is no packet filter. */
interface Absence {
  /** The rest of a sentence after "since". */
  readonly because: string
  readonly remedy: string
}

/** The outcome: the filter that is set, or why there is none. */
export type Enforcement = Pick<PacketFilter, 'by' | 'namesPort'> | Absence

const SWITCH_ON = 'set DISCOBOT_EGRESS=enforced'

/**
 * The variable counts before the file: whoever sets it sees both. `auto`, which is the default of both, asks for the
 * filter where there is something to lose by going around the proxy.
 *
 * @param findings undefined where there is no proxy.
 */
export function wantedEnforcement(
  { egress, proxy, mode }: Pick<AgentOptions, 'egress' | 'proxy' | 'mode'>,
  { enforce, narrows, loadsSecrets }: Pick<WallFindings, 'enforce' | 'narrows' | 'loadsSecrets'>,
): Wanted {
  if (egress === 'enforced' || (egress === 'auto' && enforce === true)) return { kind: 'must' }
  if (egress === 'cooperative')
    return { kind: 'no', because: 'DISCOBOT_EGRESS is "cooperative"', remedy: SWITCH_ON }
  if (enforce === false)
    return {
      kind: 'no',
      because: 'egress.enforce is false',
      remedy: "write true in the operator's file, or set DISCOBOT_EGRESS=enforced",
    }
  if (mode === 'plain')
    return {
      kind: 'no',
      because: 'there is no packet filter outside a container',
      remedy: 'run it in a container',
    }
  if (proxy === 'off')
    return { kind: 'no', because: 'DISCOBOT_PROXY is "off"', remedy: 'set DISCOBOT_PROXY=on' }
  if (narrows || loadsSecrets) return { kind: 'may' }
  return {
    kind: 'no',
    because: 'no list, rule or secret of the configuration asks for a packet filter',
    remedy: SWITCH_ON,
  }
}
