import { DiscobotError, reasonOf } from '../../base/errors.js'
import { readIfPresent } from '../system/atomic-file.js'
import type { Flag } from './choice.js'

/** dockerd would not start with its own file. */
class DaemonFileError extends DiscobotError {
  readonly code = 'DOCKER_DAEMON_FILE_INVALID'
}

/** What the operator has said about dockerd, in its file and in `DISCOBOT_DOCKERD_ARGS`. */
export interface DaemonSettings {
  /** The last value of that name; undefined when nobody said anything. */
  value(name: string): string | undefined
  /** Our flags without those that are named there already: dockerd takes a name once, as a flag or in the file. */
  without(flags: readonly Flag[]): readonly Flag[]
  /** Of the sockets that were named. */
  readonly hosts: readonly string[]
  readonly hostsInFile: boolean
}

const DAEMON_FILE = '/etc/docker/daemon.json'
const SHORT: Readonly<Record<string, string>> = {
  D: 'debug',
  G: 'group',
  H: 'host',
  b: 'bridge',
  g: 'data-root',
  l: 'log-level',
  p: 'pidfile',
  s: 'storage-driver',
}
/** In the file these are lists, under another name. */
const PLURAL: Readonly<Record<string, string>> = {
  host: 'hosts',
  'default-network-opt': 'default-network-opts',
}

/**
 * @param args as given to dockerd after ours.
 * @throws DaemonFileError when the file is there and is no JSON object.
 */
export async function readDaemonSettings(args: readonly string[], root = ''): Promise<DaemonSettings> {
  return settingsOf(args, await readDaemonFile(args, root))
}

/** Reads dockerd's file; empty where there is none. @throws DaemonFileError */
export async function readDaemonFile(args: readonly string[], root = ''): Promise<DaemonFile> {
  return parseFile(root + (parseArguments(args).get('config-file')?.at(-1) ?? DAEMON_FILE))
}

type DaemonFile = Readonly<Record<string, unknown>>

export function settingsOf(args: readonly string[], parsed: DaemonFile): DaemonSettings {
  const given = parseArguments(args)
  // The one group whose members clash with flags of the same name.
  const file = isRecord(parsed['proxies']) ? { ...parsed, ...parsed['proxies'] } : parsed
  const inFile = (name: string): unknown => file[PLURAL[name] ?? name]
  return {
    value: (name) => given.get(name)?.at(-1) ?? scalar(inFile(name)),
    without: (flags) =>
      flags.filter(([name]) => inFile(name) === undefined && (name === 'host' || !given.has(name))),
    hosts: [...strings(file['hosts']), ...(given.get('host') ?? [])],
    hostsInFile: file['hosts'] !== undefined,
  }
}

function parseArguments(args: readonly string[]): Map<string, string[]> {
  const given = new Map<string, string[]>()
  const add = (name: string, value: string): void => void given.set(name, [...(given.get(name) ?? []), value])
  for (const [index, word] of args.entries()) {
    const next = args[index + 1]
    const [, name, value] = /^--([a-z0-9-]+)(?:=(.*))?$/s.exec(word) ?? []
    const [, letter = '', rest = ''] = /^-([A-Za-z])=?(.*)$/s.exec(word) ?? []
    const long = name ?? SHORT[letter]
    if (long === undefined) continue
    const own = name === undefined ? (rest === '' ? undefined : rest) : value
    add(long, own ?? (next === undefined || next.startsWith('-') ? 'true' : next))
  }
  return given
}

async function parseFile(path: string): Promise<DaemonFile> {
  const text = await readIfPresent(path)
  if (text === undefined) return {}
  try {
    const parsed: unknown = JSON.parse(text)
    if (!isRecord(parsed)) throw new Error('it holds no object')
    return parsed
  } catch (error) {
    throw new DaemonFileError(
      `cannot use ${path}: ${reasonOf(error)}; correct it, or dockerd does not start`,
      {
        cause: error,
      },
    )
  }
}

function isRecord(value: unknown): value is DaemonFile {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function scalar(value: unknown): string | undefined {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
    ? String(value)
    : undefined
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === 'string') : []
}
