import { spawn } from 'node:child_process'
import type { Readable } from 'node:stream'
import type { Logger } from '../../base/log/logger.js'

/** slirp4netns(1): the name server that its built-in network offers, a relay to this machine's own. */
const NAMESERVER = '10.0.2.3'

/** It needs about 20 ms; on a machine that busy the container goes without rather than not at all. */
const READY_TIMEOUT_MS = 5_000

export interface OutsideNetwork {
  /** Address of its name server. */
  readonly nameserver: string
  /** Resolves when its process has ended. */
  stop(): Promise<void>
}

/**
 * Gives the network namespace of `pid` a way out through user-mode networking, which changes nothing on this
 * machine. Without slirp4netns on `path`, or when it fails, says so in one line: the container then has loopback only.
 */
export async function attachOutsideNetwork(
  pid: number,
  path: string,
  logger: Logger,
): Promise<OutsideNetwork | undefined> {
  const command = ['slirp4netns', '--configure', '--mtu=65520', '--disable-host-loopback', '--ready-fd=3']
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...command, String(pid), 'tap0'], {
    env: { PATH: path },
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
    detached: true,
  })
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => resolve())
    child.once('error', () => resolve())
  })
  let complaint = ''
  child.stderr?.on('data', (chunk: Buffer) => (complaint = chunk.toString().trim()))
  const ready = child.stdio[3] as Readable
  const attached = await new Promise<boolean>((resolve) => {
    const timer = setTimeout(() => resolve(false), READY_TIMEOUT_MS)
    const settle = (value: boolean): void => {
      clearTimeout(timer)
      resolve(value)
    }
    ready.on('error', () => settle(false))
    ready.once('data', () => settle(true))
    // On close: by then it has also said why.
    child.once('close', () => settle(false))
    child.once('error', () => settle(false))
  })
  if (attached) {
    return {
      nameserver: NAMESERVER,
      stop: () => {
        child.kill('SIGTERM')
        return ended
      },
    }
  }
  child.kill('SIGKILL')
  await ended
  const reason = /No such file/.test(complaint)
    ? 'slirp4netns is not installed'
    : complaint || 'slirp4netns failed'
  logger.warn({ reason }, 'isolated: loopback only, no network outside (Debian package slirp4netns)')
  return undefined
}
