import type { AgentOptions } from '../settings/options.js'
import type { StopOrder } from './stop-order.js'

/** dockerd before the proxy, because its containers still use it; or as the seed document has it. */
export const STOP_ORDER: Readonly<Record<AgentOptions['shutdownOrder'], StopOrder>> = {
  'dependents-first': [['agent-api'], ['dockerd'], ['proxy']],
  document: [['agent-api'], ['proxy'], ['dockerd']],
}

/**
 * Milliseconds. dockerd gives its containers 15 s by itself; the document gives it 5. Where all of the stop is to
 * take less, each has its part of it: the last one must not be left with nothing.
 */
export function stopGraces({
  shutdownOrder,
  stopTimeoutMs,
}: AgentOptions): Record<'agentApi' | 'dockerd' | 'proxy', number> {
  const graces = { agentApi: 10_000, dockerd: shutdownOrder === 'document' ? 5_000 : 20_000, proxy: 5_000 }
  const part = Math.min(1, stopTimeoutMs / (graces.agentApi + graces.dockerd + graces.proxy))
  return { agentApi: graces.agentApi * part, dockerd: graces.dockerd * part, proxy: graces.proxy * part }
}
