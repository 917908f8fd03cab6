import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Readable } from 'node:stream'
import { silentLogger, type Logger } from '../../base/log/logger.js'
import { isolate } from '../../agent/isolate/launch.js'

/** The folder that holds `agent/`, `proxy/` and `config/` as they were built. */
export const BUILT = resolve(dirname(fileURLToPath(import.meta.url)), '../..')

/** With node_modules, which may be beside `dist` and below the machine's `/tmp`. */
const PROJECT = basename(BUILT) === 'dist' ? dirname(BUILT) : BUILT

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** tap's test object, as far as it is needed here. */
interface Scope {
  teardown(clean: () => Promise<void> | void): void
}

export interface IsolatedSettings {
  /** Added to PATH, LANG and DISCOBOT_DATA_DIR=/.data. */
  readonly env?: Readonly<Record<string, string>>
  /** Shell text run as root inside before process 1 starts: hosts, addresses, users. */
  readonly prepare?: string
  /** Kept after the test when named; otherwise a fresh one that goes with it. */
  readonly dataDir?: string
  /** More paths of this machine to be seen inside, read-only. */
  readonly readOnly?: readonly string[]
  /** `loopback` unless named: tests contact nobody outside. */
  readonly network?: 'outside' | 'loopback'
  /** Told what the launcher has to say. */
  readonly logger?: Logger
  /** Process 1; the agent unless named. */
  readonly command?: readonly [string, ...string[]]
}

export interface Result {
  readonly stdout: string
  readonly stderr: string
  readonly code: number
}

interface ExecSettings {
  /** root unless named. */
  readonly user?: string
  /** Through a login shell, which reads `/etc/profile`. */
  readonly login?: boolean
  /** Killed after this; 60 s unless named. */
  readonly timeoutMs?: number
}

export interface Container {
  /** Of process 1, as this machine numbers it. */
  readonly pid: number
  readonly dataDir: string
  /** What process 1 and its children have written so far. */
  logs(): string
  /** Resolves when `logs()` matches; rejects when the container ends first. */
  logged(pattern: RegExp): Promise<void>
  /** Runs shell text inside and waits for its end, whatever its code. */
  exec(script: string, settings?: ExecSettings): Promise<Result>
  /** Starts something inside that stays: it ends with the container. */
  spawnInside(command: readonly [string, ...string[]], settings?: ExecSettings): ChildProcess
  /** Sends the signal to process 1 and resolves with its exit code. */
  stop(signal?: NodeJS.Signals): Promise<number>
  /** Resolves when process 1 has ended. */
  readonly exited: Promise<number>
}

/** A container for one test: process 1 in namespaces of its own, loopback only, cleaned up with the test. */
export async function startIsolated(t: Scope, settings: IsolatedSettings = {}): Promise<Container> {
  const dataDir = settings.dataDir ?? mkdtempSync(join(tmpdir(), 'discobot-data-'))
  // tap cleans up in reverse order: the folder goes after the container that uses it.
  if (settings.dataDir === undefined) t.teardown(() => rmSync(dataDir, { recursive: true, force: true }))
  const container = await isolate({
    command: settings.command ?? [process.execPath, join(BUILT, 'agent/main.js'), 'run'],
    env: { PATH, LANG: 'C.UTF-8', DISCOBOT_DATA_DIR: '/.data', ...settings.env },
    dataDir,
    readOnly: [PROJECT, ...(settings.readOnly ?? [])],
    hostname: 'discobot',
    network: settings.network ?? 'loopback',
    output: 'pipe',
    ...(settings.prepare === undefined ? {} : { prepare: settings.prepare }),
    logger: settings.logger ?? silentLogger,
  })
  t.teardown(async () => {
    container.signal('SIGKILL')
    await container.exited
  })
  const log = collect([container.stdout, container.stderr])
  const enter = (command: readonly string[], exec: ExecSettings): ChildProcess =>
    spawn('nsenter', ['--target', String(container.pid), '--all', '--', ...asUser(command, exec)], {
      env: { PATH, LANG: 'C.UTF-8', HOME: '/root' },
      cwd: '/',
      stdio: ['ignore', 'pipe', 'pipe'],
    })
  return {
    pid: container.pid,
    dataDir,
    exited: container.exited,
    logs: () => log.text(),
    logged: (pattern) => log.matched(pattern, container.exited),
    exec: (script, exec = {}) => finished(enter(['sh', '-c', script], exec), exec.timeoutMs ?? 60_000),
    spawnInside: (command, exec = {}) => enter(command, exec),
    stop: (signal = 'SIGTERM') => {
      container.signal(signal)
      return container.exited
    },
  }
}

function asUser(
  command: readonly string[],
  { user = 'root', login = false }: ExecSettings,
): readonly string[] {
  if (user === 'root' && !login) return command
  const line = command.map((word) => `'${word.replaceAll("'", String.raw`'\''`)}'`).join(' ')
  return ['su', ...(login ? ['--login'] : []), '--shell', '/bin/bash', '--command', line, user]
}

function finished(child: ChildProcess, timeoutMs: number): Promise<Result> {
  const out = collect([child.stdout])
  const err = collect([child.stderr])
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs)
  return new Promise((resolved, rejected) => {
    child.once('error', rejected)
    child.once('close', (code) => {
      clearTimeout(timer)
      resolved({ stdout: out.text(), stderr: err.text(), code: code ?? 137 })
    })
  })
}

interface Collected {
  text(): string
  matched(pattern: RegExp, ended: Promise<number>): Promise<void>
}

function collect(streams: readonly (Readable | null)[]): Collected {
  let text = ''
  const waiting = new Set<() => void>()
  for (const stream of streams) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
      for (const look of waiting) look()
    })
  }
  return {
    text: () => text,
    matched: (pattern, ended) =>
      new Promise((resolved, rejected) => {
        const look = (): void => {
          if (!pattern.test(text)) return
          waiting.delete(look)
          resolved()
        }
        waiting.add(look)
        look()
        void ended.then((code) =>
          rejected(new Error(`ended with ${code} before ${String(pattern)}:\n${text}`)),
        )
      }),
  }
}
