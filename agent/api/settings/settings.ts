import { basename } from 'node:path'
import { AGENT_API_PORT, LOOPBACK, PROXY_API_PORT } from '../../../config/model/paths.js'
import { HANDOVER_FD_VARIABLE } from '../../../base/process/handover.js'
import { LISTENERS_VARIABLE } from '../../../base/process/held-listeners.js'
import { READY_FD_VARIABLE } from '../../../base/process/ready-signal.js'
import { GROUP_VARIABLE } from '../../services/spec.js'
import { NOBODYS_DIGEST, tokenDigest, TOKEN_PATTERN } from '../../settings/api-token.js'
import { tokenCheck, type TokenCheck } from './access.js'

/** How much one client may take, and how long it may take for it. */
export interface Limits {
  /** For a request's head and JSON body, and for a client that reads or sends nothing meanwhile. */
  readonly clientTimeoutMs: number
  /** Commands at once. */
  readonly commands: number
  /** Terminals at once. */
  readonly terminals: number
  /** A terminal with neither input nor output for so long is ended. */
  readonly terminalIdleMs: number
  /** For one file that is written. */
  readonly uploadBytes: number
}

/** Everything the API was told, validated once. Frozen. */
export interface ApiSettings {
  readonly host: string
  readonly port: number
  readonly token?: TokenCheck
  readonly workspace: string
  /** Path of the agent's control socket; absent when we were started by hand. */
  readonly controlSocket?: string
  /** Lets us change services over it. */
  readonly controlToken?: string
  readonly proxyApiPort: number
  readonly limits: Limits
  /** Of terminals. */
  readonly shell: string
  /** Our own control group, as its location, where we may make groups below it. */
  readonly ownGroup?: string
  /** What commands and terminals get: our own variables without what is ours alone. */
  readonly commandEnv: Readonly<Record<string, string>>
  /** Values that could not be used; the default was taken instead. */
  readonly problems: readonly string[]
}

/** Never handed to a command: what lets clients in, and the folder that we are in ourselves. */
const OWN_VARIABLES = [
  'DISCOBOT_API_TOKEN',
  'DISCOBOT_API_TOKEN_SHA256',
  HANDOVER_FD_VARIABLE,
  LISTENERS_VARIABLE,
  READY_FD_VARIABLE,
  GROUP_VARIABLE,
  'PWD',
  'OLDPWD',
]

/** Accounts that nobody logs in to have one of these. */
const NO_SHELLS = ['nologin', 'false']

/** What `readSettings` looks at; `main.ts` takes it from the process. */
interface SettingSources {
  readonly env: Environment
  readonly cwd: string
  /** As the agent has handed it over; it comes in no variable. */
  readonly controlToken?: string | undefined
  /** Of the account we run as. */
  readonly loginShell?: string | undefined
}

type Environment = Readonly<Record<string, string | undefined>>

/**
 * A value that cannot be used is replaced by its default and named in `problems`; a token that cannot be used is
 * replaced by one that nobody knows, because the default would be none.
 */
export function readSettings({ env, cwd, controlToken, loginShell }: SettingSources): ApiSettings {
  const problems: string[] = []
  const whole = (name: string, fallback: number, min: number, max: number): number => {
    const value = env[name]
    if (value === undefined || value === '') return fallback
    if (/^\d{1,15}$/.test(value) && Number(value) >= min && Number(value) <= max) return Number(value)
    problems.push(
      `${name} ${JSON.stringify(value)}: want a whole number from ${min} to ${max}; ${fallback} is used`,
    )
    return fallback
  }
  const seconds = (name: string, fallback: number, max: number): number =>
    whole(name, fallback, 1, max) * 1000
  const token = readToken(env, problems)
  const controlSocket = env['DISCOBOT_AGENT_SOCKET']
  const ownGroup = env[GROUP_VARIABLE]
  return Object.freeze({
    host: env['DISCOBOT_AGENT_HOST'] ?? LOOPBACK,
    port: whole('DISCOBOT_AGENT_PORT', AGENT_API_PORT, 0, 65_535),
    ...(token === undefined ? {} : { token }),
    workspace: env['DISCOBOT_WORKSPACE_PATH'] ?? cwd,
    ...(controlSocket === undefined ? {} : { controlSocket }),
    ...(controlToken === undefined ? {} : { controlToken }),
    proxyApiPort: whole('DISCOBOT_PROXY_API_PORT', PROXY_API_PORT, 1, 65_535),
    limits: Object.freeze({
      clientTimeoutMs: seconds('DISCOBOT_API_CLIENT_TIMEOUT', 30, 3_600),
      commands: whole('DISCOBOT_API_MAX_COMMANDS', 16, 1, 1_000),
      terminals: whole('DISCOBOT_API_MAX_TERMINALS', 16, 1, 1_000),
      terminalIdleMs: seconds('DISCOBOT_API_TERMINAL_IDLE', 3_600, 7 * 86_400),
      uploadBytes: whole('DISCOBOT_API_MAX_UPLOAD', 256 * 1024 * 1024, 1, Number.MAX_SAFE_INTEGER),
    }),
    shell: loginShell === undefined || NO_SHELLS.includes(basename(loginShell)) ? '/bin/sh' : loginShell,
    ...(ownGroup === undefined ? {} : { ownGroup }),
    commandEnv: Object.freeze(commandEnvironment(env)),
    problems: Object.freeze(problems),
  })
}

/** The agent hands over the digest alone: every process of this account can read our environment. */
function readToken(env: Environment, problems: string[]): TokenCheck | undefined {
  const sha256 = env['DISCOBOT_API_TOKEN_SHA256']
  if (sha256 !== undefined && /^[0-9a-f]{64}$/.test(sha256)) return tokenCheck(sha256)
  const token = env['DISCOBOT_API_TOKEN']
  if (token === undefined || token === '') return undefined
  if (TOKEN_PATTERN.test(token)) return tokenCheck(tokenDigest(token))
  problems.push('DISCOBOT_API_TOKEN: want 16 to 256 letters, digits and ._~+/-; nobody is let in')
  return tokenCheck(NOBODYS_DIGEST)
}

function commandEnvironment(env: Environment): Record<string, string> {
  const kept: Record<string, string> = {}
  for (const [name, value] of Object.entries(env)) {
    if (value !== undefined && !OWN_VARIABLES.includes(name)) kept[name] = value
  }
  return kept
}
