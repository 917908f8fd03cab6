import { readDaemonSettings } from '../docker/daemon-settings.js'
import type { AgentOptions } from '../settings/options.js'

/**
 * The TCP ports of Discobot's services besides the proxy, which nobody may reach by way of it: the agent API's, and
 * those that dockerd was told to listen on. The control socket has none.
 */
export async function ownPorts({ agentPort, dockerdArgs }: AgentOptions, docker: boolean): Promise<number[]> {
  if (!docker) return [agentPort]
  // A file that cannot be used is for the step `dockerd` to tell: dockerd does not start with it.
  const settings = await readDaemonSettings(dockerdArgs).catch(() => undefined)
  return [agentPort, ...(settings?.hosts ?? []).flatMap(tcpPort)]
}

/** As `dockerd --host`: `tcp://` without a port is 2375, with TLS 2376. */
function tcpPort(host: string): readonly number[] {
  const [, port] = /^tcp:\/\/(?:\[[^\]]*\]|[^:/]*)(?::(\d{1,5}))?(?:\/|$)/.exec(host) ?? [undefined, false]
  if (port === false) return []
  return port === undefined ? [2375, 2376] : [Number(port)]
}
