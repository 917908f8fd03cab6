import { isIP } from 'node:net'

/** Whether an address is this machine's own: 127.0.0.0/8, also mapped into IPv6, and ::1. */
export function isLoopback(address: string): boolean {
  const v4 = address.replace(/^::ffff:/i, '')
  return address === '::1' || (isIP(v4) === 4 && v4.startsWith('127.'))
}
