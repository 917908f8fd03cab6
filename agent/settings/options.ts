import { isIP } from 'node:net'
import { join, resolve } from 'node:path'
import { parseByteSize } from '../../base/byte-size.js'
import type { LogFormat, LogLevel } from '../../base/log/contract.js'
import { DiscobotError } from '../../base/errors.js'
import { isLoopback } from '../../base/net/loopback.js'
import { parseTimeSpan } from '../../base/time-span.js'
import {
  AGENT_API_PORT,
  DEFAULT_DATA_DIR,
  dataPaths,
  LOOPBACK,
  type DataPaths,
} from '../../config/model/paths.js'
import { misspeltVariables } from './known-variables.js'
import { NOBODYS_DIGEST, TOKEN_PATTERN, tokenDigest } from './api-token.js'
import { CommandWordsError, shellWords, splitCommand } from './command-words.js'

/**
 * `container`: we are process 1 with root's rights and the machine is ours to arrange.
 * `plain`: a guest on somebody's machine; nothing outside the data dir is touched.
 */
export type Mode = 'container' | 'plain'

/** Everything the agent was told, validated once. Frozen. */
export interface AgentOptions {
  readonly mode: Mode
  readonly sessionId: string
  readonly data: DataPaths
  /** HOME of the services. */
  readonly home: string
  /** Account of the workspace and the agent API; absent means the one we run as. */
  readonly user?: string
  readonly workspace: WorkspaceOptions
  /** Replaces the built-in agent API. */
  readonly agentCommand?: readonly [string, ...string[]]
  /** Where the built-in agent API listens; beyond loopback only with a token. */
  readonly agentHost: string
  readonly agentPort: number
  /** The port was named, so a command of the operator's own is expected to answer on it. */
  readonly agentPortNamed: boolean
  /** A layer of its own over home and workspace for each session. */
  readonly overlay: 'auto' | 'off'
  /** SHA-256 of the token of the built-in agent API, in hex; the token itself goes no further. */
  readonly apiTokenSha256?: string
  /** Which engine; `auto` is rootful unless there is something to keep from its users. */
  readonly docker: 'auto' | 'rootless' | 'rootful' | 'off'
  readonly dockerdArgs: readonly string[]
  /** Whether containers and builds are told to use the proxy; they do not trust its CA by themselves. */
  readonly dockerClientProxy: 'off' | 'on'
  readonly proxy: 'on' | 'off'
  /** Whether a packet filter lets out nobody but the proxy; `auto`: as the operator's file says. */
  readonly egress: 'auto' | 'enforced' | 'cooperative'
  /** The operator's own configuration file. */
  readonly proxyConfig?: string
  readonly shutdownOrder: 'dependents-first' | 'document'
  /** For all of a stop; then what still runs is killed. */
  readonly stopTimeoutMs: number
  readonly controlSocket: string
  readonly log: LogOptions
  /** What was in our environment, without our secrets: the agent command may need it. */
  readonly inherited: Readonly<Record<string, string>>
  /** The secrets that were in it: for the proxy, as far as its configuration asks for them. */
  readonly secrets: Readonly<Record<string, string>>
  /** Values that could not be used and what was taken instead; shown in `status`. */
  readonly problems: readonly string[]
}

interface LogOptions {
  readonly level: LogLevel
  readonly format: LogFormat
  /** Kept on disk for each service; 0 for none. */
  readonly files: number
  /** Of each of them. */
  readonly fileBytes: number
}

/**
 * How much of a repository is fetched. `auto`: what the first checkout needs where git can fetch the rest later by
 * itself, else everything.
 */
export type CloneHistory =
  { readonly kind: 'auto' | 'partial' | 'full' } | { readonly kind: 'shallow'; readonly commits: number }

export interface WorkspaceOptions {
  /** Git URL or directory as it was given; may hold a secret. */
  readonly source?: string
  readonly ref?: string
  readonly path: string
  /** Where a second name for the workspace is wanted. */
  readonly link?: string
  readonly gitToken?: string
  readonly gitSshKey?: string
  /** File of host keys for `ssh`. */
  readonly gitKnownHosts?: string
  /** `auto` when absent. */
  readonly history?: CloneHistory
  /** An existing clone is fetched at every start; its branches and files stay as they are. */
  readonly fetch?: 'off' | 'on'
  readonly submodules?: 'on' | 'off'
  readonly lfs?: 'on' | 'off'
}

/** What `readOptions` looks at; `main.ts` takes it from the process. */
interface OptionSources {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly pid: number
  readonly uid: number
  /** The image's own program in a container, whatever its process number. */
  readonly ofImage?: boolean
  readonly cwd: string
  /** Home of the account we run as. */
  readonly homedir: string
}

/** A timer takes no more than 24.8 days, and no stop an hour. */
const LONGEST_TIME_MS = 3_600_000
/** More would be a matter for a log collector. */
const MAX_LOG_FILES = 100

export const CONTAINER_SOCKET = '/run/discobot/agent.sock'

/** There is nothing sensible to boot with this value. */
export class OptionsError extends DiscobotError {
  readonly code = 'AGENT_OPTIONS_INVALID'
}

/** Variables that begin with it are the proxy's, whatever its configuration says, and nobody else's. */
export const SECRET_PREFIX = 'DISCOBOT_SECRET_'

/** Never handed to a service, a login shell or a log. */
export const SECRET_VARIABLES: readonly string[] = [
  'DISCOBOT_GIT_TOKEN',
  'DISCOBOT_GIT_SSH_KEY',
  'DISCOBOT_API_TOKEN',
  // May carry userinfo.
  'DISCOBOT_WORKSPACE',
]

/**
 * Reads the environment variables of docs/reference. A value that cannot be used is replaced by its default
 * and named in `problems`, so that the rest of the container comes up and can say so.
 *
 * @throws OptionsError when the data dir cannot be what was named: nothing could be kept anywhere.
 */
export function readOptions(sources: OptionSources): AgentOptions {
  const reader = new VariableReader(sources)
  const mode = modeOf(sources, reader)
  const container = mode === 'container'
  const data = dataPaths(dataDir(sources, mode, reader))
  const home = reader.path('DISCOBOT_HOME') ?? (container ? '/home/discobot' : sources.homedir)
  const user = accountName(reader, container)
  const agentCommand = reader.parsed('DISCOBOT_AGENT_COMMAND', splitCommand, 'the built-in agent API is used')
  const agentPort = reader.port('DISCOBOT_AGENT_PORT')
  const apiTokenSha256 = apiToken(reader)
  const proxyConfig = reader.path('DISCOBOT_PROXY_CONFIG')
  return Object.freeze({
    mode,
    sessionId: sessionId(reader),
    data: Object.freeze(data),
    home,
    ...(user === undefined ? {} : { user }),
    workspace: Object.freeze({
      path: join(container || reader.text('DISCOBOT_HOME') !== undefined ? home : data.root, 'workspace'),
      ...(container ? { link: '/workspace' } : {}),
      ...workspaceSource(reader),
    }),
    ...(agentCommand === undefined ? {} : { agentCommand }),
    agentHost: agentHost(reader, apiTokenSha256 !== undefined),
    agentPort: agentPort ?? AGENT_API_PORT,
    agentPortNamed: agentPort !== undefined,
    overlay: reader.choice('DISCOBOT_OVERLAY', ['auto', 'off']),
    ...(apiTokenSha256 === undefined ? {} : { apiTokenSha256 }),
    docker: reader.choice('DISCOBOT_DOCKER', ['auto', 'rootless', 'rootful', 'off']),
    dockerClientProxy: reader.choice('DISCOBOT_DOCKER_CLIENT_PROXY', ['off', 'on']),
    dockerdArgs: reader.parsed('DISCOBOT_DOCKERD_ARGS', shellWords, 'dockerd gets none of them') ?? [],
    proxy: reader.choice('DISCOBOT_PROXY', ['on', 'off']),
    egress: egress(reader),
    ...(proxyConfig === undefined ? {} : { proxyConfig }),
    shutdownOrder: reader.choice('DISCOBOT_SHUTDOWN_ORDER', ['dependents-first', 'document']),
    stopTimeoutMs: stopTimeoutMs(reader),
    controlSocket: container ? CONTAINER_SOCKET : join(data.root, 'agent.sock'),
    log: Object.freeze({
      level: reader.choice('DISCOBOT_LOG_LEVEL', ['info', 'debug', 'warn', 'error']),
      format: reader.choice('DISCOBOT_LOG_FORMAT', ['text', 'json']),
      files: reader.count('DISCOBOT_LOG_FILES', 3, MAX_LOG_FILES),
      fileBytes: reader.size('DISCOBOT_LOG_FILE_SIZE', '5MB'),
    }),
    inherited: Object.freeze(partOf(sources.env, (name) => !isSecret(name))),
    secrets: Object.freeze(partOf(sources.env, isSecret)),
    problems: Object.freeze([...reader.problems, ...misspeltVariables(sources.env)]),
  })
}

/** Not by the process number alone: under an init of the engine's, everything would silently be left undone. */
function modeOf({ pid, uid, ofImage = false }: OptionSources, reader: VariableReader): Mode {
  const named = reader.choice('DISCOBOT_MODE', ['auto', 'container', 'plain'])
  if (named === 'plain' || (named === 'auto' && pid !== 1 && !ofImage)) return 'plain'
  if (uid === 0) return 'container'
  if (pid !== 1 && named === 'auto') return 'plain'
  const who = pid === 1 ? 'process 1' : 'the agent'
  reader.problems.push(
    `${who} runs as uid ${uid}, not root: accounts, trust store, /workspace and dockerd are left alone; start the container as root`,
  )
  return 'plain'
}

function dataDir({ pid, cwd }: OptionSources, mode: Mode, reader: VariableReader): string {
  const named = reader.text('DISCOBOT_DATA_DIR')
  const fallback = pid === 1 || mode === 'container' ? DEFAULT_DATA_DIR : '.data'
  const dir = resolve(cwd, named ?? fallback)
  if (dir === '/')
    throw new OptionsError('cannot use DISCOBOT_DATA_DIR "/": name a directory below it, such as /.data')
  return dir
}

/** What the services need at most by themselves: agent API 10 s, dockerd 20 s, proxy 5 s. */
const DEFAULT_STOP_TIMEOUT = '35s'
/** Of a container's own patience: for unmounting, and for the exit to be seen. */
const STOP_MARGIN_MS = 500

/** Killed in the middle of a stop, dockerd and the proxy would have to clean up at the next start. */
function stopTimeoutMs(reader: VariableReader): number {
  const wantedMs = reader.time('DISCOBOT_STOP_TIMEOUT', DEFAULT_STOP_TIMEOUT)
  const containerMs = reader.time('DISCOBOT_CONTAINER_STOP_TIMEOUT')
  if (containerMs === undefined || wantedMs <= containerMs) return wantedMs
  const usedMs = Math.max(containerMs - STOP_MARGIN_MS, containerMs / 2)
  reader.problems.push(
    `DISCOBOT_STOP_TIMEOUT: ${wantedMs} ms are more than the container itself gives (DISCOBOT_CONTAINER_STOP_TIMEOUT, ${containerMs} ms); ${usedMs} ms are used; give it more, as with docker run --stop-timeout`,
  )
  return usedMs
}

/** As `useradd` would accept it: the name ends up in files and arguments of root's. */
const ACCOUNT_NAME = /^[a-z_][a-z0-9_-]{0,31}$/

function accountName(reader: VariableReader, container: boolean): string | undefined {
  const named = reader.text('DISCOBOT_USER')
  if (!container) {
    if (named !== undefined)
      reader.refuse('DISCOBOT_USER', named, 'has no effect unless the agent is process 1')
    return undefined
  }
  if (named === undefined) return 'discobot'
  if (ACCOUNT_NAME.test(named) && named !== 'discobot-proxy') return named
  const wanted = 'want a name of at most 32 letters, digits, "_" and "-" that is not the proxy\'s own'
  reader.refuse('DISCOBOT_USER', named, `${wanted}; "discobot" is used`)
  return 'discobot'
}

/** Whoever sets it at all means something to be enforced: what cannot be used does not open anything. */
function egress(reader: VariableReader): AgentOptions['egress'] {
  const name = 'DISCOBOT_EGRESS'
  const value = reader.text(name)
  if (value === undefined) return 'auto'
  const known = (['auto', 'enforced', 'cooperative'] as const).find(
    (choice) => choice === value.toLowerCase(),
  )
  if (known === undefined)
    reader.refuse(name, value, 'want auto, enforced or cooperative; "enforced" is used')
  return known ?? 'enforced'
}

function agentHost(reader: VariableReader, hasToken: boolean): string {
  const named = reader.text('DISCOBOT_AGENT_HOST')
  if (named === undefined) return LOOPBACK
  const wanted = isIP(named) === 0 ? 'want an IP address' : 'beyond loopback it takes DISCOBOT_API_TOKEN'
  if (isIP(named) !== 0 && (hasToken || isLoopback(named))) return named
  reader.refuse('DISCOBOT_AGENT_HOST', named, `${wanted}; ${LOOPBACK} is used`)
  return LOOPBACK
}

/** What is no token lets nobody in, because the default would let in everybody. */
function apiToken(reader: VariableReader): string | undefined {
  const token = reader.text('DISCOBOT_API_TOKEN')
  if (token === undefined || TOKEN_PATTERN.test(token))
    return token === undefined ? token : tokenDigest(token)
  reader.problems.push('DISCOBOT_API_TOKEN: want 16 to 256 letters, digits and ._~+/-; nobody is let in')
  return NOBODYS_DIGEST
}

function sessionId(reader: VariableReader): string {
  const named = reader.text('DISCOBOT_SESSION_ID')
  if (named === undefined || /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(named)) return named ?? 'default'
  reader.refuse(
    'DISCOBOT_SESSION_ID',
    named,
    'want at most 64 letters, digits, ".", "_" and "-"; "default" is used',
  )
  return 'default'
}

function workspaceSource(reader: VariableReader): Omit<WorkspaceOptions, 'path' | 'link'> {
  const source = reader.text('DISCOBOT_WORKSPACE')
  const ref = reader.text('DISCOBOT_WORKSPACE_REF')
  const gitToken = reader.text('DISCOBOT_GIT_TOKEN')
  const gitSshKey = reader.text('DISCOBOT_GIT_SSH_KEY')
  const gitKnownHosts = reader.path('DISCOBOT_GIT_KNOWN_HOSTS')
  return {
    history: cloneHistory(reader),
    fetch: reader.choice('DISCOBOT_WORKSPACE_FETCH', ['off', 'on']),
    submodules: reader.choice('DISCOBOT_WORKSPACE_SUBMODULES', ['on', 'off']),
    lfs: reader.choice('DISCOBOT_WORKSPACE_LFS', ['on', 'off']),
    ...(source === undefined ? {} : { source }),
    ...(ref === undefined ? {} : { ref }),
    ...(gitToken === undefined ? {} : { gitToken }),
    ...(gitSshKey === undefined ? {} : { gitSshKey }),
    ...(gitKnownHosts === undefined ? {} : { gitKnownHosts }),
  }
}

function cloneHistory(reader: VariableReader): CloneHistory {
  const name = 'DISCOBOT_WORKSPACE_CLONE'
  const value = reader.text(name)
  if (value === undefined || value === 'auto') return { kind: 'auto' }
  if (value === 'partial' || value === 'full') return { kind: value }
  const commits = Number(/^depth:([1-9]\d{0,8})$/.exec(value)?.[1])
  if (commits > 0) return { kind: 'shallow', commits }
  reader.refuse(name, value, 'want auto, partial, full or depth:N; "auto" is used')
  return { kind: 'auto' }
}

function isSecret(name: string): boolean {
  return SECRET_VARIABLES.includes(name) || name.startsWith(SECRET_PREFIX)
}

function partOf(env: OptionSources['env'], keeps: (name: string) => boolean): Record<string, string> {
  const kept: Record<string, string> = {}
  for (const [name, value] of Object.entries(env)) {
    if (value !== undefined && keeps(name)) kept[name] = value
  }
  return kept
}

/** Reads single variables and collects what is wrong with them. */
class VariableReader {
  readonly problems: string[] = []

  constructor(private readonly sources: OptionSources) {}

  /** Empty counts as absent: `-e NAME=` is how a container's variable is taken back. */
  text(name: string): string | undefined {
    const value = this.sources.env[name]?.trim()
    return value === undefined || value === '' ? undefined : value
  }

  path(name: string): string | undefined {
    const value = this.text(name)
    return value === undefined ? undefined : resolve(this.sources.cwd, value)
  }

  port(name: string): number | undefined {
    const value = this.text(name)
    if (value === undefined) return undefined
    const port = /^\d{1,5}$/.test(value) ? Number(value) : 0
    if (port >= 1 && port <= 65535) return port
    this.refuse(name, value, `want a port from 1 to 65535; ${AGENT_API_PORT} is used`)
    return undefined
  }

  /** A whole number from 0. */
  count(name: string, fallback: number, most: number): number {
    const value = this.text(name)
    if (value === undefined) return fallback
    if (/^\d{1,9}$/.test(value) && Number(value) <= most) return Number(value)
    this.refuse(name, value, `want a whole number up to ${most}; ${fallback} is used`)
    return fallback
  }

  /** Milliseconds, of a time such as 35s; a number alone is seconds, as for `docker stop`. */
  time(name: string, fallback: string): number
  time(name: string): number | undefined
  time(name: string, fallback?: string): number | undefined {
    const value = this.text(name)
    const read = (text: string): number | undefined => {
      const ms = parseTimeSpan(/^\d+$/.test(text) ? `${text}s` : text)
      return ms !== undefined && ms > 0 && ms <= LONGEST_TIME_MS ? ms : undefined
    }
    const otherwise = fallback === undefined ? undefined : read(fallback)
    const found = value === undefined ? otherwise : read(value)
    if (value !== undefined && found === undefined)
      this.refuse(name, value, `want a time such as 500ms, 35s or 2m; ${fallback ?? 'none'} is used`)
    return found ?? otherwise
  }

  /** Bytes, of a size such as 5MB. */
  size(name: string, fallback: string): number {
    const value = this.text(name)
    const bytes = parseByteSize(value ?? fallback)
    if (bytes !== undefined) return bytes
    this.refuse(name, value ?? '', `want a size such as ${fallback}, which is used`)
    return parseByteSize(fallback) ?? 0
  }

  /** The first choice is the default. */
  choice<Choice extends string>(name: string, choices: readonly [Choice, ...Choice[]]): Choice {
    const value = this.text(name)
    const found = choices.find((choice) => choice === value?.toLowerCase())
    if (value === undefined || found !== undefined) return found ?? choices[0]
    this.refuse(name, value, `want ${choices.join(' or ')}; "${choices[0]}" is used`)
    return choices[0]
  }

  parsed<Value>(name: string, parse: (text: string) => Value, instead: string): Value | undefined {
    const value = this.text(name)
    if (value === undefined) return undefined
    try {
      return parse(value)
    } catch (error) {
      if (!(error instanceof CommandWordsError)) throw error
      this.refuse(name, value, `${error.reason}; ${instead}`)
      return undefined
    }
  }

  refuse(name: string, value: string, wanted: string): void {
    this.problems.push(`${name} ${JSON.stringify(value)}: ${wanted}`)
  }
}
