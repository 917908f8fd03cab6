import type { AgentOptions } from '../settings/options.js'
import type { Enforcement } from './enforcement.js'
import type { Exposure } from './exposure.js'
import type { WallFindings } from './wall-findings.js'

/**
 * How much of what the proxy promises is enforced. 1: the proxy is in the container, and variables point at it. 2: a
 * packet filter lets out nobody else, and the workspace's user has no rights of root with which to take it away.
 */
export interface Wall {
  readonly level: 1 | 2
  readonly name: 'cooperative' | 'enforced'
  readonly promises: readonly Pledge[]
  /** Secrets that are not loaded; absent where all are. */
  readonly withheld?: { readonly names: readonly string[] } & Exposure
}

/** One thing that is promised, and whether it holds here. SECURITY.md has them all, with the test of each. */
interface Pledge {
  readonly id: PledgeId
  readonly what: string
  readonly holds: boolean
  /** Why it does not; the rest of a sentence after "since". */
  readonly because?: string
  readonly remedy?: string
}

type PledgeId =
  | 'policy-decides'
  | 'own-services-unreached'
  | 'secrets-stay-with-hosts'
  | 'keys-unread'
  | 'secrets-unread'
  | 'no-way-around'
  | 'root-contained'

const WORDS: Readonly<Record<PledgeId, string>> = {
  'policy-decides': 'who uses the proxy gets where the configuration allows',
  'own-services-unreached':
    'who reaches the proxy over a network does not reach what listens in this container',
  'secrets-stay-with-hosts': 'the proxy sends a secret to its hosts only',
  'keys-unread': "the workspace's user cannot read the CA's key, the API token and the configuration",
  'secrets-unread': "the workspace's user cannot read the secrets",
  'no-way-around': 'nothing leaves the container but by the proxy',
  'root-contained': 'all of this holds against root in the container',
}

/** The rest of a sentence after "since". */
const AROUND =
  'egress is voluntary: a process may leave out the variables, open a socket of its own, or start a container that does'

/**
 * The level in force and what it promises.
 *
 * @param proxyAnswers whether there is a proxy.
 * @param enforcement undefined until the boot knows.
 */
export function wallOf(
  { mode }: Pick<AgentOptions, 'mode'>,
  { exposure, withheld }: WallFindings,
  proxyAnswers: boolean,
  enforcement: Enforcement | undefined,
): Wall {
  const kept = (id: PledgeId, broken?: { readonly because: string; readonly remedy?: string }): Pledge => ({
    id,
    what: WORDS[id],
    holds: broken === undefined,
    ...broken,
  })
  const noProxy = proxyAnswers
    ? undefined
    : { because: 'there is no proxy', remedy: 'see discobot-agent status' }
  const exposed = exposure && { because: exposure.reason, remedy: exposure.remedy }
  const around = wayAround(exposure, enforcement)
  return {
    ...(around === undefined ? ({ level: 2, name: 'enforced' } as const) : LEVEL_1),
    promises: [
      kept('policy-decides', noProxy),
      kept('own-services-unreached', noProxy),
      kept('secrets-stay-with-hosts', noProxy),
      kept('keys-unread', exposed),
      kept('secrets-unread', exposed),
      kept('no-way-around', around),
      kept('root-contained', { because: 'nothing here is out of the reach of root' }),
    ],
    ...(mode === 'container' && exposure !== undefined && withheld.length > 0
      ? { withheld: { names: withheld, ...exposure } }
      : {}),
  }
}

/** For the log and `degraded`: what is missing, why, and what to do about it. Undefined where nothing is withheld. */
export function withheldLine({ withheld }: Wall): string | undefined {
  if (withheld === undefined) return undefined
  const { names, reason, remedy } = withheld
  return `secrets: ${names.join(', ')} withheld from the proxy, since ${reason}; ${remedy}, or write trust_docker: true with each of them`
}

/** For the log, where a policy is in force. Undefined where nothing leads around it. */
export function voluntaryLine(
  { exposure }: WallFindings,
  enforcement: Enforcement | undefined,
): string | undefined {
  const around = wayAround(exposure, enforcement)
  return around && `the policy holds for who uses the proxy, since ${around.because}; ${around.remedy}`
}

const LEVEL_1 = { level: 1, name: 'cooperative' } as const

/** Whoever has root's rights takes the packet filter away; without one, nobody needs to. */
function wayAround(
  exposure: Exposure | undefined,
  enforcement: Enforcement | undefined,
): { readonly because: string; readonly remedy: string } | undefined {
  if (enforcement === undefined) return { because: AROUND, remedy: 'see discobot-agent status' }
  if (!('by' in enforcement))
    return { because: `${AROUND} (${enforcement.because})`, remedy: enforcement.remedy }
  if (exposure === undefined) return undefined
  return {
    because: `a packet filter is set, and ${exposure.reason}, with which it is taken away`,
    remedy: exposure.remedy,
  }
}
