import { existsSync } from 'node:fs'
import { DiscobotError } from '../../base/errors.js'
import { findFilterProgram, type RunFilterProgram } from './filter-program.js'
import { DOCKER_USER, iptablesRuleset, refusedCount, UNDO, type Family } from './iptables-ruleset.js'
import { readRefusals, type Refusals } from './refusals.js'
import { nftRuleset, TABLE, type FilterSettings } from './ruleset.js'

/** Nothing but the proxy was to leave, and that cannot be had here; by then no rule of ours is set. */
export class EgressNotEnforcedError extends DiscobotError {
  readonly code = 'EGRESS_NOT_ENFORCED'

  constructor(
    /** The rest of a sentence after "since". */
    readonly reason: string,
    readonly remedy: string,
  ) {
    super(`cannot enforce egress: ${reason}; ${remedy}, or set DISCOBOT_EGRESS=cooperative to go without`)
  }
}

/** Rules that are in force, and stay so as long as the network does: whatever ends, nothing takes them away. */
export interface PacketFilter {
  readonly by: 'nftables' | 'iptables'
  /** Where who looks up a name is sent; absent where that is refused. */
  readonly namesPort?: number
  /** What they have refused so far; undefined where that cannot be read. */
  refusals(): Promise<Refusals | undefined>
}

/**
 * Sets the rules of this network namespace, all at once: by nftables, or by iptables where nftables is not installed
 * or not in the kernel.
 *
 * @throws EgressNotEnforcedError with what each of them had to say.
 */
export async function raiseFilter(settings: FilterSettings, run: RunFilterProgram): Promise<PacketFilter> {
  const failures: string[] = []
  const nft = findFilterProgram('nft')
  if (nft !== undefined) {
    const refusals = (): Promise<Refusals | undefined> => listRefusals(nft, run)
    const { namesPort, ...bare } = settings
    const { code, reason } = await run(nft, ['-f', '-'], nftRuleset(settings))
    if (code === 0) return { by: 'nftables', ...(namesPort === undefined ? {} : { namesPort }), refusals }
    // Without address translation in the kernel nobody can be sent elsewhere; refusing takes less.
    const second = namesPort === undefined ? undefined : await run(nft, ['-f', '-'], nftRuleset(bare))
    if (second?.code === 0) return { by: 'nftables', refusals }
    failures.push(`nft: ${reason}`)
  }
  for (const flavour of ['iptables', 'iptables-legacy']) {
    const programs = iptablesPrograms(flavour)
    if (programs === undefined) continue
    const failure = await restore(programs, settings, run)
    if (failure === undefined) return { by: 'iptables', refusals: () => countRefusals(programs, run) }
    failures.push(`${flavour}: ${failure}`)
  }
  if (failures.length === 0)
    throw new EgressNotEnforcedError('neither nft nor iptables is installed', 'install nftables in the image')
  throw new EgressNotEnforcedError(
    `the kernel takes no rules (${failures.join('; ').replaceAll('; ', ', ')})`,
    'load nf_tables and nf_conntrack on the machine',
  )
}

interface Iptables {
  readonly restore: string
  readonly program: string
}

type IptablesPrograms = Readonly<Partial<Record<Family, Iptables>>> & { readonly ip: Iptables }

/** Undefined where one of those that are needed is missing. */
function iptablesPrograms(flavour: string): IptablesPrograms | undefined {
  const of = (family: Family): Iptables | undefined => {
    const name = flavour.replace(/^ip/, family)
    const [program, restore] = [findFilterProgram(name), findFilterProgram(`${name}-restore`)]
    return program === undefined || restore === undefined ? undefined : { program, restore }
  }
  const ip = of('ip')
  // A kernel without IPv6 lets none of it out.
  const needsSix = existsSync('/proc/net/if_inet6')
  const ip6 = needsSix ? of('ip6') : undefined
  if (ip === undefined || (needsSix && ip6 === undefined)) return undefined
  return { ip, ...(ip6 === undefined ? {} : { ip6 }) }
}

/** Each table is set at once; what is set of several is taken back when one fails. @returns why it failed. */
async function restore(
  programs: IptablesPrograms,
  settings: FilterSettings,
  run: RunFilterProgram,
): Promise<string | undefined> {
  for (const [family, { restore: command }] of entriesOf(programs)) {
    const { code, reason } = await run(command, ['--noflush', '-w', '5'], iptablesRuleset(family, settings))
    if (code === 0) continue
    for (const [, { program }] of entriesOf(programs)) for (const args of UNDO) await run(program, args)
    return reason
  }
  for (const [, { program }] of entriesOf(programs)) for (const args of DOCKER_USER) await run(program, args)
  return undefined
}

function entriesOf({ ip, ip6 }: IptablesPrograms): (readonly [Family, Iptables])[] {
  return [['ip', ip], ...(ip6 === undefined ? [] : [['ip6', ip6] as const])]
}

async function listRefusals(nft: string, run: RunFilterProgram): Promise<Refusals | undefined> {
  const { code, stdout } = await run(nft, ['-j', 'list', 'table', 'inet', TABLE])
  return code === 0 ? readRefusals(stdout) : undefined
}

async function countRefusals(
  programs: IptablesPrograms,
  run: RunFilterProgram,
): Promise<Refusals | undefined> {
  let others = 0
  for (const [, { program }] of entriesOf(programs)) {
    const { code, stdout } = await run(program, ['-w', '5', '-nvxL', 'DISCOBOT-REFUSE'])
    if (code !== 0) return undefined
    others += refusedCount(stdout)
  }
  return { places: [], others }
}
