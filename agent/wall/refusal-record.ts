import { readFileSync } from 'node:fs'
import { unattended } from '../../base/process/entry.js'
import type { Logger } from '../../base/log/logger.js'
import type { PacketFilter } from './packet-filter.js'
import type { RefusedPlace } from './refusals.js'

/** One start of a program that ends within milliseconds; what it reads, the kernel has kept meanwhile. */
const LOOK_MS = 5_000
/** Somebody who tries every port of every address fills no log. */
const LINES_PER_LOOK = 20

/**
 * Writes down what the packet filter refuses: a line for each place, when it is first tried and when it was tried ten
 * times as often. The kernel's own log is not to be read from a container, so the filter remembers, and is asked.
 */
export class RefusalRecord {
  readonly #timer: NodeJS.Timeout
  #told = new Map<string, number>()
  #toldOthers = 0
  #looking: Promise<void> = Promise.resolve()

  constructor(
    private readonly filter: PacketFilter,
    private readonly logger: Logger,
  ) {
    this.#timer = setInterval(() => unattended(logger, 'record of the packet filter', this.#look()), LOOK_MS)
    this.#timer.unref()
  }

  /** After a last look. Never rejects. */
  async close(): Promise<void> {
    clearInterval(this.#timer)
    await this.#look()
  }

  #look(): Promise<void> {
    const mine = this.#looking.then(() => this.#write())
    this.#looking = mine.catch(() => undefined)
    return mine
  }

  /** What is too much for one look comes with the next ones. */
  async #write(): Promise<void> {
    const found = await this.filter.refusals()
    if (found === undefined) return
    const known = new Map<string, number>()
    let lines = 0
    let left = 0
    for (const place of found.places) {
      const { packets, ...where } = place
      const key = JSON.stringify(where)
      const told = this.#told.get(key)
      const isNews = told === undefined || packets >= told * 10
      if (isNews && lines < LINES_PER_LOOK) {
        lines++
        known.set(key, packets)
        this.logger.warn(fieldsOf(place), REFUSED)
        continue
      }
      if (isNews) left++
      if (told !== undefined) known.set(key, told)
    }
    this.#told = known
    if (left > 0) this.logger.warn({ places: left }, `${REFUSED}, at more places than are shown yet`)
    const { others } = found
    if (others === 0 || others < this.#toldOthers * 10) return
    this.#toldOthers = others
    this.logger.warn({ to: 'places that are not recorded', packets: others }, REFUSED)
  }
}

const REFUSED = 'the packet filter has refused what did not go by the proxy'

function fieldsOf({ uid, from, address, protocol, port, packets }: RefusedPlace): Record<string, unknown> {
  return {
    ...(uid === undefined ? { from } : { user: accountName(uid) }),
    to: address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`,
    protocol,
    packets,
  }
}

function accountName(uid: number): string {
  try {
    const lines = readFileSync('/etc/passwd', 'utf8').split('\n')
    return lines.map((line) => line.split(':')).find(([, , id]) => id === String(uid))?.[0] ?? String(uid)
  } catch {
    return String(uid)
  }
}
