import type { Probe } from './spec.js'

/** unix(7): a longer path is cut off silently, and another socket asked. */
const MAX_SOCKET_PATH_BYTES = 107
/** PATH_MAX and NAME_MAX of Linux, limits.h; the first counts the NUL at the end. */
const MAX_PATH_BYTES = 4095
const MAX_NAME_BYTES = 255
/** RFC 9112, section 3.2.1, and RFC 3986: what is neither visible nor ASCII is written with percent signs. */
const HTTP_PATH = /^\/[\x21-\x7e]*$/
/** A name (RFC 1035, section 2.3.4: 253 characters), or an address of either kind, with a zone. */
const HOST = /^[A-Za-z0-9._:%-]{1,253}$/
const MAX_QUOTED = 60

/** A question that no service can ever answer. */
interface ProbeMistake {
  /** The option that is wrong: `path` belongs to `unix`. */
  readonly option: Probe['kind'] | 'path'
  /** Names the value, and what would be right. */
  readonly message: string
}

/** Finds at load what would otherwise only show by never becoming ready. */
export function probeMistake(probe: Probe): ProbeMistake | undefined {
  switch (probe.kind) {
    case 'http':
      return isHttpUrl(probe.url)
        ? undefined
        : { option: 'http', message: `${quoted(probe.url)}: write an http:// URL` }
    case 'tcp':
      if (HOST.test(probe.host)) return undefined
      return {
        option: 'tcp',
        message: `${quoted(probe.host)} is no host; write a port, or HOST:PORT as in localhost:3000`,
      }
    case 'file':
      return pathMistake('file', probe.path)
    case 'unix-http': {
      const { socketPath, path } = probe
      const mistake = pathMistake('unix-http', socketPath)
      if (mistake !== undefined) return mistake
      if (Buffer.byteLength(socketPath) > MAX_SOCKET_PATH_BYTES) {
        const message = `${quoted(socketPath)}: the path of a socket may have ${MAX_SOCKET_PATH_BYTES} bytes at most`
        return { option: 'unix-http', message }
      }
      if (HTTP_PATH.test(path)) return undefined
      const message = `${quoted(path)} cannot be asked for; begin with / and write a blank as %20, as in /health`
      return { option: 'path', message }
    }
  }
}

function isHttpUrl(text: string): boolean {
  return /^http:\/\//i.test(text) && URL.canParse(text) && new URL(text).port !== '0'
}

function pathMistake(option: 'file' | 'unix-http', path: string): ProbeMistake | undefined {
  if (!path.startsWith('/')) return { option, message: `${quoted(path)}: write an absolute path` }
  if (Buffer.byteLength(path) > MAX_PATH_BYTES)
    return { option, message: `${quoted(path)}: a path may have ${MAX_PATH_BYTES} bytes at most` }
  if (path.split('/').some((name) => Buffer.byteLength(name) > MAX_NAME_BYTES))
    return { option, message: `${quoted(path)}: a name in a path may have ${MAX_NAME_BYTES} bytes at most` }
  return undefined
}

function quoted(text: string): string {
  return JSON.stringify(text.length > MAX_QUOTED ? `${text.slice(0, MAX_QUOTED)}…` : text)
}
