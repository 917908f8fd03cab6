import { canonicalHost } from '../../base/net/host-name.js'
import { parseTemplate } from './secret-template.js'

/** `upstream_proxy.url`, taken apart. */
interface UpstreamProxyUrl {
  readonly scheme: 'http' | 'socks5' | 'socks5h'
  /** A canonical name, or an address without brackets. */
  readonly host: string
  readonly port: number
  /** Templates in which `${NAME}` stands for a secret; percent escapes are undone. Absent without credentials. */
  readonly credentials?: { readonly user: string; readonly password: string }
}

const DEFAULT_PORTS = { http: 80, socks5: 1080, socks5h: 1080 } as const
const FORM = /^(http|socks5h?):\/\/(?:([^@/]*)@)?(\[[0-9a-f:.]+\]|[^:[\]/@?#]+)(?::(\d{1,5}))?\/?$/i

/** The parts of the URL, or what is wrong with it as the end of a sentence about it; never quotes it. */
export function parseUpstreamProxyUrl(text: string): UpstreamProxyUrl | string {
  const [, written = '', userinfo, rawHost = '', rawPort] = FORM.exec(text) ?? []
  const scheme = written.toLowerCase()
  if (scheme !== 'http' && scheme !== 'socks5' && scheme !== 'socks5h') {
    return 'is not the address of a proxy; write http://HOST:PORT, socks5://HOST:PORT or socks5h://HOST:PORT'
  }
  const host = canonicalHost(rawHost.replace(/^\[|\]$/g, ''))
  const port = rawPort === undefined ? DEFAULT_PORTS[scheme] : Number(rawPort)
  if (host === undefined || port < 1 || port > 65_535) return 'names no usable host and port'
  if (userinfo === undefined) return { scheme, host, port }
  const colon = userinfo.indexOf(':')
  const user = unescaped(colon === -1 ? userinfo : userinfo.slice(0, colon))
  const password = unescaped(colon === -1 ? '' : userinfo.slice(colon + 1))
  if (user === undefined || password === undefined) return 'has a "%" that begins no escape; write %25'
  for (const part of [user, password]) {
    const parts = parseTemplate(part)
    if (typeof parts === 'string') return parts
    if (/[\x00-\x1f\x7f]/.test(part)) return 'holds a control character'
    if (Buffer.byteLength(part) > 255) return 'has a name or password of more than 255 bytes'
  }
  return { scheme, host, port, credentials: { user, password } }
}

function unescaped(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}
