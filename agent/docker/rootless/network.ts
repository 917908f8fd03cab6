import { reasonOf } from '../../../base/errors.js'
import { ENGINE_PROXY_ADDRESS } from '../../../config/model/paths.js'
import { findOnPath } from '../../settings/programs.js'
import { CommandError, type CommandOptions, type RunCommand } from '../../system/command.js'
import type { Choice } from '../choice.js'

interface EngineNetworkOptions {
  readonly uid: number
  readonly proxyPort: number
  readonly run: RunCommand
  readonly command: CommandOptions
}

const FLAVOURS = ['iptables', 'iptables-nft', 'iptables-legacy']

/** Used in messages. */
const OPEN =
  'a container with --privileged and --network host reaches what listens on the loopback of this one, and its neighbours the proxy'

/**
 * slirp4netns opens the connections of the engine's containers as the engine's account, here. With
 * `--disable-host-loopback` it no longer stands in for loopback with an address of its own, and yet connects to
 * 127.0.0.1 when a packet says so, which takes a privileged container with the engine's network. So nothing of that
 * account may begin a connection within this container, but to the proxy and to a name server. That has its port
 * changed on Docker's own networks, hence the port of before.
 *
 * Linux answers for an address of its own on every interface, so who shares a network with this container could reach
 * the proxy by the one that is for the engine: only what comes from within may.
 */
const GUARD = `
p=$0 uid=$1 address=$2 port=$3 chain=DISCOBOT-ENGINE
"$p" -w 5 -N $chain 2>/dev/null || "$p" -w 5 -F $chain || exit
"$p" -w 5 -A $chain -p tcp -d "$address" --dport "$port" -j RETURN &&
"$p" -w 5 -A $chain -m conntrack --ctorigdstport 53 -j RETURN &&
"$p" -w 5 -A $chain -j REJECT || exit
set -- INPUT ! -i lo -d "$address" -j DROP
"$p" -w 5 -C "$@" 2>/dev/null || "$p" -w 5 -I "$@" || exit
set -- OUTPUT -o lo -m owner --uid-owner "$uid" -m conntrack --ctstate NEW -j $chain
"$p" -w 5 -C "$@" 2>/dev/null || "$p" -w 5 -I "$@"`

/** Before the engine is started. It comes up without either, and `status` tells what that means. */
export async function prepareEngineNetwork(
  options: EngineNetworkOptions,
): Promise<{ readonly address: Choice & { readonly works: boolean }; readonly guard: Choice }> {
  const { run, command } = options
  const address = await tried(() =>
    run(['ip', 'address', 'replace', `${ENGINE_PROXY_ADDRESS}/32`, 'dev', 'lo'], command),
  )
  return {
    address:
      address === undefined
        ? { flags: [], told: `proxy at ${ENGINE_PROXY_ADDRESS}`, works: true }
        : {
            flags: [],
            told: 'no way to the proxy',
            limit: `neither it nor its containers reach the proxy (${address}); run the container with --cap-add NET_ADMIN`,
            works: false,
          },
    guard: await guard(options),
  }
}

async function guard({ uid, proxyPort, run, command }: EngineNetworkOptions): Promise<Choice> {
  const reasons: string[] = []
  for (const flavour of FLAVOURS) {
    const program = findOnPath(flavour, command.env['PATH'] ?? '')
    if (program === undefined) continue
    const words = [String(uid), ENGINE_PROXY_ADDRESS, String(proxyPort)]
    const reason = await tried(() => run(['sh', '-c', GUARD, program, ...words], command))
    if (reason === undefined) return { flags: [], told: 'loopback guarded' }
    command.signal.throwIfAborted()
    reasons.push(`${flavour}: ${reason}`)
  }
  const why = reasons.length === 0 ? 'iptables is not installed' : reasons.join(', ')
  return { flags: [], told: 'loopback open', limit: `${OPEN} (${why}); have iptables with the match "owner"` }
}

/** @returns why not, or undefined when it went well. */
async function tried(attempt: () => Promise<unknown>): Promise<string | undefined> {
  try {
    await attempt()
    return undefined
  } catch (error) {
    const line = error instanceof CommandError ? error.stderr.trim().split('\n')[0] : undefined
    return line === undefined || line === '' ? reasonOf(error) : line.slice(0, 200)
  }
}
