import { existsSync } from 'node:fs'
import type { Logger } from '../../base/log/logger.js'
import { isolatedEnvironment, machinePaths } from './environment.js'
import { isolate } from './launch.js'

export interface RunIsolatedOptions {
  /** The machine's environment. */
  readonly env: Readonly<Record<string, string | undefined>>
  /** Node and the agent's main file with its arguments. */
  readonly command: readonly [string, ...string[]]
  /** The program's own folder. */
  readonly projectDir: string
  /** Absolute. */
  readonly dataDir: string
  readonly logger: Logger
}

/** What a person or an engine may send to process 1; all of it goes on to the inner one. */
const FORWARDED = ['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH'] as const

/**
 * `discobot-agent run --isolate`: the agent as a real process 1 until it ends. Resolves with its exit code.
 *
 * @throws IsolateError when the namespaces cannot be made.
 */
export async function runIsolated(options: RunIsolatedOptions): Promise<number> {
  const isPath = (value: string): boolean => existsSync(value)
  const env = isolatedEnvironment(options.env, isPath)
  let wanted: NodeJS.Signals | undefined
  let forward = (signal: NodeJS.Signals): void => {
    wanted = signal
  }
  const listener = (signal: NodeJS.Signals): void => forward(signal)
  for (const signal of FORWARDED) process.on(signal, listener)
  try {
    const container = await isolate({
      command: options.command,
      env,
      dataDir: options.dataDir,
      readOnly: [options.projectDir, ...machinePaths(options.env, isPath).map((path) => path.value)],
      hostname: 'discobot',
      network: 'outside',
      output: 'inherit',
      logger: options.logger,
    })
    options.logger.info(
      { pid: container.pid, enter: `nsenter --target ${container.pid} --all su - discobot` },
      'isolated: process 1 of its own namespaces',
    )
    forward = (signal) => container.signal(signal)
    // One that came while the namespaces were being made.
    if (wanted !== undefined) forward(wanted)
    return await container.exited
  } finally {
    for (const signal of FORWARDED) process.off(signal, listener)
  }
}
