import type { Logger } from '../../../base/log/logger.js'
import type { Choice } from '../../docker/choice.js'
import { majorOf } from '../../docker/proxy-flags.js'
import {
  baseEnvironment,
  serviceEnvironment,
  type Environment,
  type ProxyAccess,
} from '../../settings/environment.js'
import type { AgentOptions } from '../../settings/options.js'
import type { Supervisor } from '../../services/supervisor.js'
import type { CommandOptions, RunCommand } from '../../system/command.js'

export interface DockerdStepDeps {
  readonly options: AgentOptions
  readonly stopGraceMs: number
  readonly supervisor: Supervisor
  readonly run: RunCommand
  readonly logger: Logger
}

/** An engine that runs, and the choices it was started with. */
export interface StartedEngine {
  /** The path of its socket. */
  readonly socket: string
  readonly choices: readonly Choice[]
}

/** A data root with many containers is loaded before the first answer. */
export const READY_TIMEOUT_MS = 60_000
export const ROOT = { name: 'root', home: '/root' }

export function searchPath({ inherited }: AgentOptions): string {
  const base: Environment = baseEnvironment(ROOT, inherited)
  return base['PATH'] ?? ''
}

/** The major version of dockerd; 0 where it cannot be told. */
export async function majorVersion(
  run: RunCommand,
  dockerd: string,
  command: CommandOptions,
): Promise<number> {
  return majorOf(await run([dockerd, '--version'], command).catch(() => ''))
}

export function describeChoices(choices: readonly Choice[]): string {
  return choices.map(({ told }) => told).join(', ')
}

/** The environment of dockerd: the programs of its choices come first on the search path. */
export function engineEnvironment(
  options: AgentOptions,
  account: { readonly name: string; readonly home: string },
  proxy: ProxyAccess | undefined,
  choices: readonly Choice[],
  more: Environment = {},
): Environment {
  const path = [
    ...choices.flatMap(({ path: folder }) => (folder === undefined ? [] : [folder])),
    searchPath(options),
  ]
  return serviceEnvironment({
    account,
    inherited: {},
    ...(proxy === undefined ? {} : { proxy }),
    extra: { ...more, PATH: path.join(':') },
  })
}
