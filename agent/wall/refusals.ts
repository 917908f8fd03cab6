/** Everything that the packet filter has refused since it was set. */
export interface Refusals {
  /** Each with how often; forgotten an hour after the last time. */
  readonly places: readonly RefusedPlace[]
  /** Packets whose place is not recorded: other protocols than TCP and UDP, and with iptables, all. */
  readonly others: number
}

export interface RefusedPlace {
  /** Uid of the socket's owner. */
  readonly uid?: number
  /** Address of a nested container. */
  readonly from?: string
  readonly address: string
  readonly protocol: string
  readonly port: number
  readonly packets: number
}

/** The sets of `ruleset.ts`, and whether their first field is a uid. */
const SETS: ReadonlyMap<string, boolean> = new Map([
  ['refused4', true],
  ['refused6', true],
  ['nested4', false],
  ['nested6', false],
])

/** Reads libnftables-json(5). Undefined when it is something else. */
export function readRefusals(json: string): Refusals | undefined {
  let listed: unknown
  try {
    listed = at(JSON.parse(json), 'nftables')
  } catch {
    return undefined
  }
  if (!Array.isArray(listed)) return undefined
  const places: RefusedPlace[] = []
  let others = 0
  for (const item of listed as unknown[]) {
    others += numberOf(at(at(item, 'counter'), 'packets'))
    const set = at(item, 'set')
    const byUid = SETS.get(String(at(set, 'name')))
    const elements = at(set, 'elem')
    if (byUid === undefined || !Array.isArray(elements)) continue
    for (const element of elements as unknown[]) {
      const place = placeOf(at(element, 'elem'), byUid)
      if (place !== undefined) places.push(place)
    }
  }
  return { places, others }
}

function placeOf(element: unknown, byUid: boolean): RefusedPlace | undefined {
  const fields = at(at(element, 'val'), 'concat')
  if (!Array.isArray(fields)) return undefined
  const [who, address, protocol, port] = fields as unknown[]
  return {
    ...(byUid ? { uid: numberOf(who) } : { from: String(who) }),
    address: String(address),
    protocol: String(protocol),
    port: numberOf(port),
    packets: numberOf(at(at(element, 'counter'), 'packets')),
  }
}

function at(value: unknown, key: string): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined
  return (value as Readonly<Record<string, unknown>>)[key]
}

function numberOf(value: unknown): number {
  return typeof value === 'number' ? value : 0
}
