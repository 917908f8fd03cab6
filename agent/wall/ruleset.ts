/** What the rules are made of: for nftables here, for iptables in `iptables-ruleset.ts`. */
export interface FilterSettings {
  /** Its sockets alone lead out. */
  readonly proxyUid: number
  /** Of Discobot's services besides the proxy: nested containers do not reach them. */
  readonly ownPorts: readonly number[]
  /** Docker's resolver of a network with a name answers at 127.0.0.11, and asks others from this very namespace. */
  readonly dockerResolver: boolean
  /** Where the proxy answers whoever looks up a name; absent where nobody does. */
  readonly namesPort?: number
  /** Interfaces that lead out and are called like a bridge of Docker's. */
  readonly misnamed: readonly string[]
}

/** Docker's default bridge and those of its other networks; `*` is any text. */
export const BRIDGES: readonly string[] = ['docker0', 'br-*']

export const DOCKER_RESOLVER = '127.0.0.11'

export const TABLE = 'discobot'

/** Connections of the proxy's; any value that nobody else is likely to use. */
export const PROXY_MARK = '0xd15c0b07'

/** A reader looks often enough; who tries more than that many places at a time is recorded by number alone. */
const REMEMBERED = 512
const REMEMBERED_FOR = '1h'

/**
 * Sockets are told by who made them (nft(8), `meta skuid`), and packets that have none by their connection: the end of
 * one whose socket is closed already, which only the proxy can have opened. What a socket of anybody else's sends is
 * an answer to who came from outside, or is refused, even if it looked like a packet of the proxy's. Of what the kernel
 * sends by itself only neighbour discovery leaves: the groups that a program may join are words that it could say.
 *
 * The hooks come before Docker's own chains (priority `filter`), so that what is refused is refused at once; a packet
 * that passes here is theirs to judge.
 */
export function nftRuleset(settings: FilterSettings): string {
  const { proxyUid, ownPorts, dockerResolver, misnamed, namesPort } = settings
  const bridges = (key: string, verdict: string): string =>
    BRIDGES.map((name) => `    ${key} "${name}" ${verdict}\n`).join('')
  const toMisnamed = misnamed.map((name) => `    oifname "${name}" goto refuse_forwarded\n`).join('')
  return `table inet ${TABLE}
delete table inet ${TABLE}
table inet ${TABLE} {
${set('refused4', 'uid . ipv4_addr')}${set('refused6', 'uid . ipv6_addr')}${set('nested4', 'ipv4_addr . ipv4_addr')}${set('nested6', 'ipv6_addr . ipv6_addr')}  counter others {
  }
  chain refuse {
    meta l4proto { tcp, udp } update @refused4 { meta skuid . ip daddr . meta l4proto . th dport }
    meta l4proto { tcp, udp } update @refused6 { meta skuid . ip6 daddr . meta l4proto . th dport }
    goto reject_at_once
  }
  chain refuse_forwarded {
    meta l4proto { tcp, udp } update @nested4 { ip saddr . ip daddr . meta l4proto . th dport }
    meta l4proto { tcp, udp } update @nested6 { ip6 saddr . ip6 daddr . meta l4proto . th dport }
    goto reject_at_once
  }
  chain reject_at_once {
    meta l4proto != { tcp, udp } counter name others
    meta l4proto tcp reject with tcp reset
    reject with icmpx type admin-prohibited
  }
  chain output {
    type filter hook output priority filter - 10; policy drop;
${dockerResolver ? `    ip daddr ${DOCKER_RESOLVER} meta skuid != ${proxyUid} goto refuse\n` : ''}    oifname "lo" accept
${toMisnamed}${bridges('oifname', 'accept')}    ct direction reply ct state established,related accept
    meta skuid ${proxyUid} ct mark set ${PROXY_MARK} accept
${dockerResolver ? '    meta skuid 0 meta l4proto { tcp, udp } th dport 53 accept\n' : ''}    meta skuid 0-4294967294 goto refuse
    ct mark ${PROXY_MARK} ct state established accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit } accept
    meta l4proto { igmp, ipv6-icmp } drop
    goto refuse
  }
  chain forward {
    type filter hook forward priority filter - 10; policy drop;
    ct direction reply ct state established,related accept
${toMisnamed}${bridges('oifname', 'accept')}    goto refuse_forwarded
  }
  chain input {
    type filter hook input priority filter - 10; policy accept;
    iifname "lo" accept
${bridges('iifname', 'goto from_nested')}${namesPort === undefined ? '' : `    meta l4proto { tcp, udp } th dport ${namesPort} drop\n`}  }
  chain from_nested {
${ownPorts.length === 0 ? '' : `    tcp dport { ${ownPorts.join(', ')} } goto refuse_forwarded\n`}  }
${namesPort === undefined ? '' : namesRules(settings, namesPort)}}
`
}

/**
 * Whoever asks a server for a name asks the proxy: before Docker's own rules for its resolver (priority `dstnat`), and
 * except for servers that are the container's own or a nested container's.
 */
function namesRules({ proxyUid, dockerResolver }: FilterSettings, port: number): string {
  const toUs = `meta l4proto { tcp, udp } th dport 53 redirect to :${port}`
  return `  chain names_of_ours {
    type nat hook output priority -110; policy accept;
    meta skuid ${proxyUid} accept
${dockerResolver ? `    ip daddr ${DOCKER_RESOLVER} ${toUs}\n    meta skuid 0 accept\n` : ''}    oifname "lo" accept
${BRIDGES.map((name) => `    oifname "${name}" accept\n`).join('')}    ${toUs}
  }
  chain names_of_nested {
    type nat hook prerouting priority -110; policy accept;
    fib daddr type local accept
${BRIDGES.map((name) => `    fib daddr oifname "${name}" accept\n`).join('')}${BRIDGES.map((name) => `    iifname "${name}" ${toUs}\n`).join('')}  }
`
}

/** A line for each place that somebody tried to reach, and how often: what is refused is recorded from them. */
function set(name: string, who: string): string {
  return `  set ${name} {
    type ${who} . inet_proto . inet_service
    size ${REMEMBERED}
    flags dynamic, timeout
    timeout ${REMEMBERED_FOR}
    counter
  }
`
}
