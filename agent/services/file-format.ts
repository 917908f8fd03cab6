import type { LogLevel } from '../../base/log/contract.js'
import { nearestName } from '../../base/nearest-name.js'
import type { Complaint, Mark } from '../../config/yaml/problem.js'
import { quoteOption, readYaml, type KeyPath, type YamlDocument } from '../../config/yaml/yaml-document.js'
import { shellWords } from '../settings/command-words.js'
import { probeMistake } from './probe-mistake.js'
import { DEFAULT_RESTART_POLICY } from './restart-policy.js'
import type { Limits, Probe, Readiness } from './spec.js'

/** A service as a file describes it; what it leaves out is absent. */
export interface ServiceEntry {
  readonly name: string
  /** Where its name is written. */
  readonly mark: Mark
  readonly userMark: Mark
  readonly dependsMarks: readonly Mark[]
  readonly command: readonly [string, ...string[]]
  readonly oneshot: boolean
  readonly user?: string
  readonly depends: readonly string[]
  readonly readiness: Readiness
  readonly readyTimeoutMs: number
  readonly liveness?: { probe: Probe; periodMs: number; timeoutMs: number; threshold: number }
  readonly restart: 'always' | 'on-failure' | 'never'
  readonly ports: readonly number[]
  readonly env: Readonly<Record<string, string>>
  readonly cwd?: string
  readonly stopGraceMs: number
  readonly noNewPrivs: boolean
  readonly limits: Limits
  readonly logLevel?: LogLevel
  readonly essential: boolean
  /** Where `essential` is written. */
  readonly essentialMark: Mark
  readonly giveUp?: { readonly failuresAllowed: number; readonly windowMs: number }
}

export interface ParsedServices {
  readonly entries: readonly ServiceEntry[]
  /** Each costs the one service it is in; a text that is no YAML costs all. */
  readonly complaints: readonly Complaint[]
}

const KEYS = [
  'command',
  'type',
  'user',
  'depends',
  'readiness',
  'ready_timeout',
  'liveness',
  'restart',
  'ports',
  'env',
  'cwd',
  'stop_timeout',
  'no_new_privs',
  'limits',
  'log_level',
  'essential',
  'give_up',
] as const
const PROBE_KEYS = ['http', 'tcp', 'unix', 'path', 'file'] as const
const LIMIT_KEYS = {
  open_files: 'openFiles',
  processes: 'processes',
  address_space: 'addressSpaceBytes',
  core: 'coreBytes',
  file_size: 'fileSizeBytes',
} as const
const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/
/** Of one file: more than anybody supervises by hand. */
const MAX_SERVICES = 100
const DEFAULT_READY_TIMEOUT_MS = 60_000
const DEFAULT_STOP_GRACE_MS = 10_000
const MS = { ms: 1, s: 1_000, m: 60_000 } as const
const LONGEST_MS = 3_600_000

/** Reads the text of a services file. A service with a mistake is left out, and all its mistakes are told. */
export function parseServices(text: string): ParsedServices {
  const document = readYaml(text)
  const complaints: Complaint[] = document.problems.map(({ mark, message }) => ({ mark, message }))
  if (document.problems.some(({ kind }) => kind === 'syntax')) return { entries: [], complaints }
  const top = new EntryReader(document, [])
  const root = top.object(document.value, [], ['services'])
  const services = root['services'] === undefined ? {} : top.object(root['services'], ['services'])
  const names = Object.keys(services)
  if (names.length > MAX_SERVICES) top.complain(['services'], `more than ${MAX_SERVICES} services`)
  complaints.push(...top.complaints)
  const entries: ServiceEntry[] = []
  for (const name of names.slice(0, MAX_SERVICES)) {
    const reader = new EntryReader(document, ['services', name])
    const entry = reader.entry(name, services[name])
    complaints.push(...reader.complaints)
    if (entry !== undefined && reader.complaints.length === 0) entries.push(entry)
  }
  return { entries, complaints }
}

class EntryReader {
  readonly complaints: Complaint[] = []

  constructor(
    readonly document: YamlDocument,
    readonly base: KeyPath,
  ) {}

  complain(path: KeyPath, message: string): undefined {
    this.complaints.push({
      mark: this.document.valueMark(path),
      message: `option ${quoteOption(path)}: ${message}`,
    })
    return undefined
  }

  entry(name: string, value: unknown): ServiceEntry | undefined {
    const { base } = this
    const mark = this.document.keyMark(base)
    if (!NAME.test(name)) {
      this.complaints.push({
        mark,
        message: 'the name of a service is lower-case letters, digits and dashes',
      })
    }
    const given = this.object(value, base, KEYS)
    const at = (key: (typeof KEYS)[number]): KeyPath => [...base, key]
    const command = this.#command(given['command'], at('command'))
    const oneshot = this.#choice(given['type'], at('type'), ['service', 'oneshot'] as const) === 'oneshot'
    const ports = this.#list(given['ports'], at('ports'), (port, path) => this.#port(port, path))
    const depends = this.#list(given['depends'], at('depends'), (one, path) => this.#text(one, path))
    const readiness = this.#readiness(given['readiness'], at('readiness'), ports, oneshot)
    const restart = this.#choice(given['restart'], at('restart'), ['on-failure', 'always', 'never'] as const)
    if (oneshot && restart === 'always')
      this.complain(at('restart'), 'a oneshot that ended well is not started again')
    const liveness = this.#liveness(given['liveness'], at('liveness'), readiness, oneshot)
    const user = this.#optional(given['user'], at('user'), (one, path) => this.#text(one, path))
    const cwd = this.#optional(given['cwd'], at('cwd'), (one, path) => this.#text(one, path))
    const level = this.#optional(given['log_level'], at('log_level'), (one, path) =>
      this.#choice(one, path, ['debug', 'info', 'warn', 'error'] as const),
    )
    const giveUp = this.#optional(given['give_up'], at('give_up'), (one, path) => this.#giveUp(one, path))
    const parts = {
      readyTimeoutMs: this.#duration(given['ready_timeout'], at('ready_timeout'), DEFAULT_READY_TIMEOUT_MS),
      stopGraceMs: this.#duration(given['stop_timeout'], at('stop_timeout'), DEFAULT_STOP_GRACE_MS),
      env: this.#environment(given['env'], at('env')),
      limits: this.#limits(given['limits'], at('limits')),
    }
    if (command === undefined) return undefined
    return {
      name,
      mark,
      command,
      oneshot,
      ports,
      depends,
      readiness,
      restart,
      ...parts,
      noNewPrivs: this.#flag(given['no_new_privs'], at('no_new_privs')),
      essential: this.#flag(given['essential'], at('essential')),
      essentialMark: this.document.valueMark(at('essential')),
      userMark: this.document.valueMark(at('user')),
      dependsMarks: depends.map((_, index) => this.document.valueMark([...at('depends'), index])),
      ...(user === undefined ? {} : { user }),
      ...(cwd === undefined ? {} : { cwd }),
      ...(level === undefined ? {} : { logLevel: level }),
      ...(liveness === undefined ? {} : { liveness }),
      ...(giveUp === undefined ? {} : { giveUp }),
    }
  }

  #giveUp(value: unknown, path: KeyPath): ServiceEntry['giveUp'] {
    const given = this.object(value, path, ['failures', 'window'])
    const { failuresAllowed, windowMs } = DEFAULT_RESTART_POLICY
    const failures = given['failures'] ?? failuresAllowed
    if (typeof failures !== 'number' || !Number.isInteger(failures) || failures < 1)
      this.complain([...path, 'failures'], 'write a whole number from 1')
    return {
      failuresAllowed: Number(failures),
      windowMs: this.#duration(given['window'], [...path, 'window'], windowMs),
    }
  }

  #flag(value: unknown, path: KeyPath): boolean {
    if (value !== undefined && typeof value !== 'boolean') this.complain(path, 'write true or false')
    return value === true
  }

  /** An empty one where there is none, which has been told then. */
  object(value: unknown, path: KeyPath, known?: readonly string[]): Record<string, unknown> {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      this.complain(path, 'write "key: value" pairs here')
      return {}
    }
    for (const key of Object.keys(value)) {
      if (known === undefined || known.includes(key)) continue
      const near = nearestName(key, known)
      const hint =
        near === undefined ? `there are ${known.join(', ')}` : `did you mean ${JSON.stringify(near)}?`
      const mark = this.document.keyMark([...path, key])
      this.complaints.push({ mark, message: `unknown option ${quoteOption([...path, key])}; ${hint}` })
    }
    return { ...value }
  }

  #command(value: unknown, path: KeyPath): readonly [string, ...string[]] | undefined {
    if (value === undefined) return this.complain(path, 'a service needs a command')
    try {
      const words =
        typeof value === 'string'
          ? shellWords(value)
          : this.#list(value, path, (word, at) => this.#text(word, at))
      const [program, ...args] = words
      return program === undefined ? this.complain(path, 'it is empty') : [program, ...args]
    } catch (error) {
      return this.complain(path, error instanceof Error ? error.message : String(error))
    }
  }

  #readiness(value: unknown, path: KeyPath, ports: readonly number[], oneshot: boolean): Readiness {
    const [port] = ports
    if (value === undefined) {
      return port === undefined || oneshot ? { kind: 'started' } : { kind: 'tcp', host: 'localhost', port }
    }
    if (oneshot) this.complain(path, 'a oneshot is ready when it has ended well')
    const given = this.object(value, path, [...PROBE_KEYS, 'newline'])
    const fd = given['newline']
    if (fd === undefined) return this.#probe(given, path) ?? { kind: 'started' }
    if (typeof fd !== 'number' || !Number.isInteger(fd) || fd < 3 || fd > 9) {
      this.complain([...path, 'newline'], 'write a descriptor from 3 to 9')
    }
    return { kind: 'newline', fd: Number(fd) }
  }

  #probe(given: Record<string, unknown>, path: KeyPath): Probe | undefined {
    const kinds = (['http', 'tcp', 'unix', 'file'] as const).filter((kind) => given[kind] !== undefined)
    const [kind] = kinds
    if (kind === undefined || kinds.length > 1)
      return this.complain(path, 'write one of http, tcp, unix, file')
    const probe = this.#probeOf(kind, given, path)
    const mistake = probe && probeMistake(probe)
    if (mistake === undefined) return probe
    return this.complain([...path, mistake.option === 'path' ? 'path' : kind], mistake.message)
  }

  #probeOf(
    kind: 'http' | 'tcp' | 'unix' | 'file',
    given: Record<string, unknown>,
    path: KeyPath,
  ): Probe | undefined {
    const at = [...path, kind]
    if (kind === 'tcp') {
      const [, host = 'localhost', digits = ''] = /^(?:(.+):)?(\d+)$/s.exec(String(given['tcp'])) ?? []
      const port = this.#port(Number(digits), at)
      return port === undefined ? undefined : { kind, host: host.replace(/^\[|\]$/g, ''), port }
    }
    const text = this.#text(given[kind], at)
    if (text === undefined) return undefined
    if (kind === 'http') return { kind, url: text }
    if (kind === 'file') return { kind, path: text }
    const asked = given['path'] === undefined ? '/' : this.#text(given['path'], [...path, 'path'])
    return asked === undefined ? undefined : { kind: 'unix-http', socketPath: text, path: asked }
  }

  #liveness(value: unknown, path: KeyPath, readiness: Readiness, oneshot: boolean): ServiceEntry['liveness'] {
    if (value === undefined) return undefined
    if (oneshot) return this.complain(path, 'a oneshot has nothing to be asked')
    const given = this.object(value, path, [...PROBE_KEYS, 'period', 'timeout', 'threshold'])
    const own = PROBE_KEYS.some((key) => given[key] !== undefined)
    const asReady = readiness.kind === 'started' || readiness.kind === 'newline' ? undefined : readiness
    const probe = own ? this.#probe(given, path) : asReady
    if (probe === undefined)
      return own ? undefined : this.complain(path, 'write one of http, tcp, unix, file')
    const threshold = given['threshold'] ?? 3
    if (typeof threshold !== 'number' || !Number.isInteger(threshold) || threshold < 1) {
      this.complain([...path, 'threshold'], 'write a whole number from 1')
    }
    const periodMs = this.#duration(given['period'], [...path, 'period'], 10_000)
    const timeoutMs = this.#duration(given['timeout'], [...path, 'timeout'], 1_000)
    return { probe, periodMs, timeoutMs, threshold: Number(threshold) }
  }

  #environment(value: unknown, path: KeyPath): Record<string, string> {
    const given = value === undefined ? {} : this.object(value, path)
    const env: Record<string, string> = {}
    for (const [name, one] of Object.entries(given)) {
      const at = [...path, name]
      if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) this.complain(at, 'not the name of a variable')
      const text = typeof one === 'boolean' || one === '' ? String(one) : this.#text(one, at)
      if (text !== undefined) env[name] = text
    }
    return env
  }

  #limits(value: unknown, path: KeyPath): Limits {
    const given = value === undefined ? {} : this.object(value, path, Object.keys(LIMIT_KEYS))
    const limits: Record<string, number> = {}
    for (const [key, name] of Object.entries(LIMIT_KEYS)) {
      const limit = given[key]
      if (limit === undefined) continue
      if (typeof limit !== 'number' || !Number.isSafeInteger(limit) || limit < 0) {
        this.complain([...path, key], 'write a whole number from 0; sizes are in bytes')
      }
      limits[name] = Number(limit)
    }
    return limits
  }

  #list<T>(value: unknown, path: KeyPath, read: (one: unknown, path: KeyPath) => T | undefined): T[] {
    if (value === undefined) return []
    if (!Array.isArray(value)) {
      this.complain(path, 'write a list: [a, b]')
      return []
    }
    return value.map((one, index) => read(one, [...path, index])).filter((one) => one !== undefined)
  }

  #optional<T>(value: unknown, path: KeyPath, read: (one: unknown, path: KeyPath) => T): T | undefined {
    return value === undefined ? undefined : read(value, path)
  }

  #text(value: unknown, path: KeyPath): string | undefined {
    if (typeof value === 'number') return String(value)
    if (typeof value !== 'string' || value === '' || value.includes('\0'))
      return this.complain(path, 'write text')
    return value
  }

  #port(value: unknown, path: KeyPath): number | undefined {
    if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65_535) return value
    return this.complain(path, 'write a port from 1 to 65535')
  }

  #duration(value: unknown, path: KeyPath, absent: number): number {
    if (value === undefined) return absent
    const [, count, unit] = /^(\d+)(ms|s|m)$/.exec(typeof value === 'string' ? value : '') ?? []
    const ms = Number(count) * (MS[unit as keyof typeof MS] ?? Number.NaN)
    if (ms >= 1 && ms <= LONGEST_MS) return ms
    this.complain(path, 'write a time from 1ms to 60m, as 500ms, 10s or 2m')
    return absent
  }

  /** The first choice where there is none. */
  #choice<const T extends string>(value: unknown, path: KeyPath, choices: readonly [T, ...T[]]): T {
    const found = choices.find((choice) => choice === value)
    if (value !== undefined && found === undefined) this.complain(path, `write one of ${choices.join(', ')}`)
    return found ?? choices[0]
  }
}
