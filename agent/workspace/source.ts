import { resolve } from 'node:path'
import { DiscobotError } from '../../base/errors.js'

/** Where a workspace comes from. Nothing in it is secret except `credentials`. */
export type WorkspaceSource = { readonly kind: 'directory'; readonly path: string } | GitSource

export interface GitSource {
  readonly kind: 'git'
  readonly transport: 'https' | 'http' | 'ssh' | 'file'
  /** Without userinfo that could be a secret; what git is given, stores and shows. */
  readonly url: string
  /** `host` or `host:port`; empty for `file`. */
  readonly host: string
  /** Taken out of the URL. */
  readonly credentials?: Credentials
}

export interface Credentials {
  readonly username: string
  readonly password: string
}

/** `DISCOBOT_WORKSPACE` or `DISCOBOT_WORKSPACE_REF` is nothing we would hand to git or cp. */
export class WorkspaceSourceError extends DiscobotError {
  readonly code = 'WORKSPACE_SOURCE_INVALID'
}

const ACCEPTED = 'want https://…, ssh://…, git@host:path, file:///… or a directory'

/**
 * Tells a git URL from a directory, as git does: a colon before the first slash makes a remote path.
 *
 * @throws WorkspaceSourceError for what could be taken for an option, would run a command (`ext::`), is not
 *   encrypted (`git://`) or is no URL at all. The message never holds the value: it may carry a secret.
 */
export function parseSource(text: string, cwd: string): WorkspaceSource {
  if (text.startsWith('-')) throw refused('it begins with "-" and would be taken for an option')
  if (/[\x00-\x1f\x7f]/.test(text)) throw refused('it holds control characters')
  if (/^[a-z][a-z0-9+.-]*::/i.test(text)) throw refused('helper transports such as "ext::" run commands')
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) return fromUrl(text)
  const remote = /^(?:(?<user>[^@/:\s]+)@)?(?<host>[^@/:\s]+|\[[^\]/\s]+\]):(?<path>\S+)$/.exec(text)?.groups
  if (remote === undefined || /^[./]/.test(text)) return { kind: 'directory', path: resolve(cwd, text) }
  const { user, host = '', path = '' } = remote
  requireHost(host)
  if (user?.startsWith('-') === true || path.startsWith('-')) throw refused('a part of it begins with "-"')
  return { kind: 'git', transport: 'ssh', url: text, host }
}

function fromUrl(text: string): GitSource {
  let url: URL
  try {
    url = new URL(text)
  } catch {
    throw refused('it is not a valid URL')
  }
  const transport = url.protocol.slice(0, -1)
  switch (transport) {
    case 'https':
    case 'http':
      return fromHttp(url, transport)
    case 'ssh':
      requireHost(url.hostname)
      if (url.username.startsWith('-') || url.pathname.startsWith('/-'))
        throw refused('a part of it begins with "-"')
      url.password = ''
      return { kind: 'git', transport, url: url.href, host: url.host }
    case 'file':
      if (url.hostname !== '') throw refused('a file URL has three slashes: file:///path')
      return { kind: 'git', transport, url: url.href, host: '' }
    default:
      throw refused(`"${transport}" is not a transport that is safe to use`)
  }
}

function fromHttp(url: URL, transport: 'https' | 'http'): GitSource {
  requireHost(url.hostname)
  const username = decodeURIComponent(url.username)
  const password = decodeURIComponent(url.password)
  url.username = ''
  url.password = ''
  return {
    kind: 'git',
    transport,
    url: url.href,
    host: url.host,
    ...(username === '' && password === '' ? {} : { credentials: { username, password } }),
  }
}

/** A host that begins with "-" is an option to ssh. */
function requireHost(host: string): void {
  if (host === '' || host.startsWith('-')) throw refused('it names no host')
}

/**
 * A branch, tag or commit by git's own rules (git-check-ref-format), and no option or revision expression.
 *
 * @throws WorkspaceSourceError
 */
export function requireRef(ref: string): string {
  const bad = /^[-/]|[\x00-\x20\x7f~^:?*[\\]|\.\.|@\{|\/\/|\/\.|^\.|[./]$|\.lock(\/|$)|^@$/
  if (ref.length <= 255 && !bad.test(ref)) return ref
  throw new WorkspaceSourceError(
    `cannot use DISCOBOT_WORKSPACE_REF ${JSON.stringify(ref)}: want the name of a branch or tag, or a commit`,
  )
}

function refused(reason: string): WorkspaceSourceError {
  return new WorkspaceSourceError(`cannot use DISCOBOT_WORKSPACE: ${reason}; ${ACCEPTED}`)
}
