// What process 1 tells the proxy in its handover, as variables. Where nobody tells it anything, none is set.

/** On which TCP ports the other services of Discobot listen: decimal numbers, with commas between. */
export const OWN_PORTS_VARIABLE = 'DISCOBOT_OWN_PORTS'

/** Why secrets are not to be loaded, except those that say `trust_docker: true`. */
export const SECRETS_WITHHELD_VARIABLE = 'DISCOBOT_SECRETS_WITHHELD'

/** At which port names are to be answered, over UDP and TCP, for those whom a packet filter sends there. */
export const NAMES_PORT_VARIABLE = 'DISCOBOT_NAMES_PORT'

/** What is no port is left out: it is for process 1 to say, and nobody else hears of it. */
export function portsIn(text: string | undefined): ReadonlySet<number> {
  const ports = (text ?? '').split(',').filter((part) => /^\d{1,5}$/.test(part))
  return new Set(ports.map(Number).filter((port) => port >= 1 && port <= 65_535))
}
