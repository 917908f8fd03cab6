import { reasonOf } from '../errors.js'
import type { Logger } from '../log/logger.js'

// outside → entry → our own work. What goes wrong in there is our fault, and it ends there.

/** What ends with a fault: a connection, or one stream of it. */
interface Ending {
  readonly remoteAddress?: string | undefined
  readonly remotePort?: number | undefined
  destroy(): unknown
}

export interface Entry<Given extends readonly unknown[]> {
  /** As the log names it. */
  readonly name: string
  readonly logger: Logger
  /** Told from what the event brings. Nothing else ends. */
  readonly ends: (...given: Given) => Ending | undefined
}

/** What `entry` makes; the lint takes nothing else for the events of servers. */
export type EntryListener<Given extends readonly unknown[]> = ((...given: Given) => void) & {
  readonly isEntry?: true
}

/**
 * A listener for an event by which the outside comes in. Whatever `work` throws, at once or later, goes into the log
 * with the connection it was about, and ends that connection. Without it Node would end the program, and whoever finds
 * a fault of ours would end everybody's connections with one packet.
 */
export function entry<Given extends readonly unknown[]>(
  { name, logger, ends }: Entry<Given>,
  work: (...given: Given) => Promise<void> | void,
): EntryListener<Given> {
  const fault = (error: unknown, given: Given): void => {
    const ending = ends(...given)
    tellFault(logger, { entry: name, client: addressOf(ending) }, error)
    ending?.destroy()
  }
  return (...given) => {
    try {
      const done = work(...given)
      if (done !== undefined) done.then(undefined, (error: unknown) => fault(error, given))
    } catch (error) {
      fault(error, given)
    }
  }
}

/** {@link entry} for the events of one server. @param part of it, as the log names it, where it is not all of it. */
export function entriesOf(server: string, logger: Logger) {
  return <Given extends readonly unknown[]>(
    ends: (...given: Given) => Ending,
    work: (...given: Given) => Promise<void> | void,
    part?: string,
  ): EntryListener<Given> =>
    entry({ name: part === undefined ? server : `${server}: ${part}`, logger, ends }, work)
}

/** Lets work go on that nobody waits for. What it throws goes into the log. */
export function unattended(logger: Logger, what: string, work: Promise<unknown>): void {
  work.then(undefined, (error: unknown) => tellFault(logger, { work: what }, error))
}

/**
 * Goes on after what no entry has caught, with its stack in the log. Ending would not mend it: who has caused it
 * once can do so again. A program that no longer works is found out by its readiness, not by this.
 *
 * @returns takes it back.
 */
export function outliveFaults(logger: Logger): () => void {
  // Rejections that nobody handles come here too.
  const tell = (error: unknown, origin: string): void => tellFault(logger, { origin }, error)
  process.on('uncaughtException', tell)
  return () => void process.off('uncaughtException', tell)
}

/** @param where what it was about, as fields of the log. Never throws. */
export function tellFault(logger: Logger, where: object, error: unknown): void {
  try {
    const stack = error instanceof Error ? error.stack : undefined
    logger.error({ ...where, reason: reasonOf(error), stack }, 'a fault of ours')
  } catch {
    // The log itself is at fault; the work of others goes on without it.
  }
}

function addressOf(ending: Ending | undefined): string | undefined {
  const { remoteAddress, remotePort } = ending ?? {}
  return remoteAddress === undefined ? undefined : `${remoteAddress} ${remotePort}`
}
