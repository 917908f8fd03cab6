import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execPath } from 'node:process'
import type { Logger } from '../../base/log/logger.js'
import { ChildRegistry } from '../../agent/process/children.js'
import { systemClock } from '../../agent/process/clock.js'
import type { ServiceSpec } from '../../agent/services/spec.js'
import { Supervisor, type EssentialFailure, type SupervisorDeps } from '../../agent/services/supervisor.js'

export interface LogLine {
  readonly level: string
  readonly message: string
  readonly fields: Readonly<Record<string, unknown>>
}

/** A log that remembers. */
export function recordingLogger(lines: LogLine[] = [], bound: object = {}): Logger & { lines: LogLine[] } {
  const at =
    (level: string) =>
    (fields: object, message: string): void => {
      lines.push({ level, message, fields: { ...bound, ...fields } })
    }
  return {
    lines,
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: (fields) => recordingLogger(lines, { ...bound, ...fields }),
    isLevelEnabled: () => true,
  }
}

export interface Lab {
  readonly supervisor: Supervisor
  readonly lines: LogLine[]
  readonly failures: EssentialFailure[]
  /** What the service has printed so far. */
  said(service: string): string[]
}

/** Everything still running is killed when the test ends. */
export function makeLab(
  t: { teardown(fn: () => unknown): unknown },
  deps: Partial<SupervisorDeps> = {},
): Lab {
  const logger = recordingLogger()
  const failures: EssentialFailure[] = []
  const supervisor = new Supervisor({
    logger,
    clock: systemClock,
    children: new ChildRegistry(),
    onEssentialFailure: (failure) => failures.push(failure),
    random: () => 0,
    ...deps,
  })
  t.teardown(async () => {
    const stopped = supervisor.stopAll({ deadlineMs: 2_000 })
    supervisor.killNow()
    await stopped
  })
  return {
    supervisor,
    lines: logger.lines,
    failures,
    said: (service) =>
      logger.lines
        .filter(({ fields }) => fields['service'] === service && 'stream' in fields)
        .map((line) => line.message),
  }
}

const PATH = process.env['PATH'] ?? '/usr/bin:/bin'

/** A shell script as a service; ready as soon as it runs unless `more` says otherwise. */
export function shell(name: string, script: string, more: Partial<ServiceSpec> = {}): ServiceSpec {
  return {
    name,
    command: ['/bin/sh', '-c', script],
    env: { PATH },
    cwd: '/',
    after: [],
    readiness: { kind: 'started' },
    readyTimeoutMs: 5_000,
    restart: 'never',
    essential: false,
    stopGraceMs: 3_000,
    ...more,
  }
}

/** A line of JavaScript as a service. */
export function script(name: string, code: string, more: Partial<ServiceSpec> = {}): ServiceSpec {
  return shell(name, '', { command: [execPath, '-e', code], ...more })
}

/** Resolves with the first truthy answer; fails after ten seconds. */
export async function waitFor<T>(what: string, ask: () => T | undefined | false): Promise<T> {
  const until = performance.now() + 10_000
  for (;;) {
    const answer = ask()
    if (answer !== undefined && answer !== false) return answer
    if (performance.now() > until) throw new Error(`waited in vain for ${what}`)
    await systemClock.sleep(10)
  }
}

/** A folder with a name short enough for Unix sockets, which tap's own folders are not. */
export function shortFolder(t: { teardown(fn: () => unknown): unknown }): string {
  const folder = mkdtempSync(join(tmpdir(), 'discobot-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
