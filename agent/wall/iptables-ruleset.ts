import { BRIDGES, DOCKER_RESOLVER, PROXY_MARK, type FilterSettings } from './ruleset.js'

// The same rules as `ruleset.ts`, where there is no nft: iptables(8), iptables-extensions(8).

export type Family = 'ip' | 'ip6'

/** Set on what the table `mangle` has refused; any bit that Docker does not use. */
const REFUSED = '0x40000000/0x40000000'

/** Chain of the kernel's → ours that it jumps to. */
const JUMPS: readonly (readonly [table: string, from: string, to: string])[] = [
  ['mangle', 'FORWARD', 'DISCOBOT-FORWARD'],
  ['mangle', 'POSTROUTING', 'DISCOBOT-LEAVING'],
  ['filter', 'OUTPUT', 'DISCOBOT-OUTPUT'],
  ['filter', 'FORWARD', 'DISCOBOT-REFUSED'],
  ['filter', 'INPUT', 'DISCOBOT-INPUT'],
]

/**
 * For iptables-restore(8) with `--noflush`. dockerd puts its rules before ours in `FORWARD`, and lets out what comes
 * from its bridges. So that is judged in `mangle`, where it has none, and marked: `filter` refuses at once what has the
 * mark, if it gets there, and nothing that has it leaves.
 */
export function iptablesRuleset(family: Family, settings: FilterSettings): string {
  const { proxyUid, ownPorts, dockerResolver, misnamed } = settings
  const bridges = BRIDGES.map((name) => name.replace('*', '+'))
  const unlessNested = (chain: string): string[] => [
    ...misnamed.map((name) => `-A ${chain} -o ${name} -g ${chain}-REST`),
    ...bridges.map((name) => `-A ${chain} -o ${name} -j RETURN`),
    `-A ${chain} -g ${chain}-REST`,
  ]
  const answers = (chain: string): string =>
    `-A ${chain} -m conntrack --ctstate ESTABLISHED,RELATED --ctdir REPLY -j RETURN`
  const resolver = dockerResolver && family === 'ip'
  const neighbours =
    family === 'ip' ? [] : ['neighbour-solicitation', 'neighbour-advertisement', 'router-solicitation']
  const [icmp, prohibited] =
    family === 'ip' ? ['icmp', 'icmp-admin-prohibited'] : ['icmpv6', 'icmp6-adm-prohibited']
  return [
    '*mangle',
    ...['DISCOBOT-FORWARD', 'DISCOBOT-FORWARD-REST', 'DISCOBOT-LEAVING'].map((chain) => `:${chain} - [0:0]`),
    answers('DISCOBOT-FORWARD'),
    ...unlessNested('DISCOBOT-FORWARD'),
    `-A DISCOBOT-FORWARD-REST -j MARK --set-xmark ${REFUSED}`,
    `-A DISCOBOT-LEAVING -m mark --mark ${REFUSED} -j DROP`,
    ...jumps('mangle'),
    'COMMIT',
    '*filter',
    ...[
      'DISCOBOT-REFUSE',
      'DISCOBOT-REFUSED',
      'DISCOBOT-OUTPUT',
      'DISCOBOT-OUTPUT-REST',
      'DISCOBOT-INPUT',
      'DISCOBOT-NESTED',
    ].map((chain) => `:${chain} - [0:0]`),
    '-A DISCOBOT-REFUSE -p tcp -j REJECT --reject-with tcp-reset',
    `-A DISCOBOT-REFUSE -j REJECT --reject-with ${prohibited}`,
    '-A DISCOBOT-REFUSE -j DROP',
    `-A DISCOBOT-REFUSED -m mark --mark ${REFUSED} -j DISCOBOT-REFUSE`,
    ...(resolver
      ? [`-A DISCOBOT-OUTPUT -d ${DOCKER_RESOLVER} -m owner ! --uid-owner ${proxyUid} -j DISCOBOT-REFUSE`]
      : []),
    '-A DISCOBOT-OUTPUT -o lo -j RETURN',
    answers('DISCOBOT-OUTPUT'),
    ...unlessNested('DISCOBOT-OUTPUT'),
    `-A DISCOBOT-OUTPUT-REST -m owner --uid-owner ${proxyUid} -j CONNMARK --set-mark ${PROXY_MARK}`,
    `-A DISCOBOT-OUTPUT-REST -m owner --uid-owner ${proxyUid} -j RETURN`,
    ...(resolver
      ? ['udp', 'tcp'].map(
          (protocol) => `-A DISCOBOT-OUTPUT-REST -p ${protocol} --dport 53 -m owner --uid-owner 0 -j RETURN`,
        )
      : []),
    '-A DISCOBOT-OUTPUT-REST -m owner --uid-owner 0-4294967294 -j DISCOBOT-REFUSE',
    `-A DISCOBOT-OUTPUT-REST -m conntrack --ctstate ESTABLISHED -m connmark --mark ${PROXY_MARK} -j RETURN`,
    ...neighbours.map(
      (type) => `-A DISCOBOT-OUTPUT-REST -p ${icmp} -m icmp6 --icmpv6-type ${type} -j RETURN`,
    ),
    ...(family === 'ip' ? ['igmp'] : ['icmpv6']).map(
      (protocol) => `-A DISCOBOT-OUTPUT-REST -p ${protocol} -j DROP`,
    ),
    '-A DISCOBOT-OUTPUT-REST -j DISCOBOT-REFUSE',
    ...bridges.map((name) => `-A DISCOBOT-INPUT -i ${name} -j DISCOBOT-NESTED`),
    ...ownPorts.map((port) => `-A DISCOBOT-NESTED -p tcp --dport ${port} -j DISCOBOT-REFUSE`),
    ...jumps('filter'),
    'COMMIT',
    '',
  ].join('\n')
}

function jumps(table: string): string[] {
  return JUMPS.flatMap(([of, from, to]) => (of === table ? [`-I ${from} 1 -j ${to}`] : []))
}

/** What takes {@link iptablesRuleset} back: arguments of iptables, of which some may find nothing. */
export const UNDO: readonly (readonly string[])[] = JUMPS.map(([table, from, to]) => [
  '-w',
  '5',
  '-t',
  table,
  '-D',
  from,
  '-j',
  to,
])

/**
 * dockerd jumps to this chain before all of its own, and leaves what is in it (docs.docker.com, "Packet filtering"):
 * by it, what nested containers send out is refused at once, and not only dropped. It may be there already.
 */
export const DOCKER_USER: readonly (readonly string[])[] = [
  ['-w', '5', '-N', 'DOCKER-USER'],
  ['-w', '5', '-I', 'DOCKER-USER', '1', '-j', 'DISCOBOT-REFUSED'],
]

/** What has been refused so far, by the counters of `iptables -nvxL DISCOBOT-REFUSE`. */
export function refusedCount(listing: string): number {
  return listing
    .split('\n')
    .flatMap((line) => /^\s*(\d+)\s+\d+\s+(?:REJECT|DROP)\b/.exec(line)?.[1] ?? [])
    .reduce((sum, packets) => sum + Number(packets), 0)
}
