import type { Logger } from '../../base/log/logger.js'
import type { BootFindings } from '../boot/findings/findings.js'
import { stopGraces } from '../services/shutdown.js'
import { commandEnvironment } from '../boot/steps/agent-api.js'
import type { ChildRegistry } from '../process/children.js'
import { exitCodeOf } from '../process/exit-code.js'
import type { AgentOptions } from '../settings/options.js'
import type { CommandScreen } from './command-screen.js'
import { UserCommand } from './user-command.js'

export interface CommandRequest {
  readonly words: readonly [string, ...string[]]
  readonly screen: CommandScreen
  readonly options: AgentOptions
  /** Name of the account we run as. */
  readonly self: string
  /** Ours; `docker run --workdir` sets it. */
  readonly cwd: string
}

export interface CommandSurroundings {
  readonly children: ChildRegistry
  readonly logger: Logger
  /** Everything is to end, with this code. */
  readonly end: (exitCode: number) => void
}

/**
 * The user's command in front of all that the agent keeps running: begun when the boot is over, and the end of
 * everything when it ends.
 */
export class CommandInFront {
  readonly #request: CommandRequest
  readonly #end: (exitCode: number) => void
  readonly #command: UserCommand

  constructor(request: CommandRequest, { end, ...surroundings }: CommandSurroundings) {
    const { words, screen, options } = request
    const { user } = options
    this.#request = request
    this.#end = end
    this.#command = new UserCommand({
      words,
      screen,
      ...surroundings,
      ...(user === undefined ? {} : { user }),
    })
  }

  /** Resolves when it has ended. */
  async run(findings: BootFindings): Promise<void> {
    const { options, self, cwd } = this.#request
    const { home, workspace, user = self } = options
    const env = await commandEnvironment(options, { name: user, home }, findings)
    const named = options.mode === 'container' && cwd !== '/' ? [cwd] : []
    this.#end(await this.#command.run(env, [...named, workspace.path, home]))
  }

  /**
   * Once it has begun all signals are its own, but the one that asks a container to stop. One that has ended it may come
   * here behind its end.
   */
  takes(signal: NodeJS.Signals): boolean {
    if (signal === 'SIGTERM' || !this.#command.begun) return false
    this.#command.pass(signal)
    return true
  }

  /** Everything ends when it has ended. */
  stop(signal: NodeJS.Signals): Promise<void> {
    if (this.#command.begun) return this.end()
    // It never ran: that must not look like success.
    this.#end(exitCodeOf({ kind: 'signalled', signal }))
    return Promise.resolve()
  }

  /** Resolves when nothing of it runs, at once if it does not. */
  end(): Promise<void> {
    return this.#command.end(stopGraces(this.#request.options).agentApi)
  }

  kill(): void {
    this.#command.kill()
  }
}
