import { readFileSync } from 'node:fs'
import { ensureFile } from '../system/atomic-file.js'
import type { SocketAddress } from './held-sockets.js'

/**
 * The addresses that a service listened on at the last start; undefined where nothing usable is written. Read before
 * all else, so with as little code as it takes.
 */
export function readListeners(file: string): readonly SocketAddress[] | undefined {
  try {
    const said: unknown = JSON.parse(readFileSync(file, 'utf8'))
    return Array.isArray(said) && said.length > 0 && said.every(isSocketAddress) ? said : undefined
  } catch {
    return undefined
  }
}

export async function writeListeners(file: string, addresses: readonly SocketAddress[]): Promise<void> {
  // Without it the next start takes longer, and that is all.
  await ensureFile(file, `${JSON.stringify(addresses)}\n`, { mode: 0o600 }).catch(() => undefined)
}

function isSocketAddress(said: unknown): said is SocketAddress {
  if (typeof said !== 'object' || said === null || !('host' in said) || !('port' in said)) return false
  const { host, port } = said
  return typeof host === 'string' && Number.isInteger(port) && Number(port) > 0 && Number(port) < 65_536
}
