import type { Socket } from 'node:net'

/** A listener in which a fault ends one connection, and not the program. */
type Guarded<Given extends readonly unknown[]> = ((...given: Given) => void) & { readonly isEntry?: true }

/**
 * Makes a listener for an event by which the outside comes in.
 *
 * @param ends the connection that ends with a fault, told from what the event brings.
 * @param part of the server, as the log names it, where it is not all of it.
 */
export type GuardedEntry = <Given extends readonly unknown[]>(
  ends: (...given: Given) => Socket,
  work: (...given: Given) => Promise<void> | void,
  part?: string,
) => Guarded<Given>
