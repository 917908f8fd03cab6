import type { AgentStatus } from '../../status/status.js'

/** Through which everybody goes who has been told of it; without it nothing reaches the outside. */
const NEEDED = 'proxy'

/**
 * What keeps the container from doing its work, for Docker's HEALTHCHECK: one line each, none when it is well. That
 * something is missing which others do without (Docker, a service of a workspace) is for `status` to tell.
 */
export function complaintsOf({ phase, services }: AgentStatus): string[] {
  if (phase !== 'running') return [`it is ${phase}`]
  const needed = services.filter(({ name, essential }) => essential === true || name === NEEDED)
  const complaints = needed
    .filter(({ state }) => state !== 'ready')
    .map(({ name, state, reason }) => `${name} is ${state}${reason === undefined ? '' : `: ${reason}`}`)
  return services.some(({ essential }) => essential === true)
    ? complaints
    : [...complaints, 'there is nothing that it is here for']
}
