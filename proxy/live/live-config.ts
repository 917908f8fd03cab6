import { randomBytes } from 'node:crypto'
import type { Config } from '../../config/model/config.js'
import { cutOffProblem, type SaidText } from '../../config/layers/cut-off.js'
import { DiscobotError, reasonOf } from '../../base/errors.js'
import { MAX_CONFIG_BYTES, readConfigText, SAYS_NOTHING } from '../../config/layers/config-texts.js'
import type { Logger } from '../../base/log/logger.js'
import type { Merged } from '../../config/layers/merge.js'
import { ConfigError, formatProblem, type Problem } from '../../config/yaml/problem.js'
import { watchFile, type FileWatch } from '../../base/files/watch-file.js'
import { readTroubleLine } from '../../config/compose/render.js'
import type { ChangeBody } from './change.js'
import { OptionUnusableError, PersistError, RevisionError } from './errors.js'
import { replaceFile } from './persist.js'
import { keysPendingRestart, withoutRestart } from './restart-keys.js'

/** What has been made ready and has no effect yet. */
export interface Prepared {
  commit(): Promise<void>
  discard(): void
}

interface LiveConfigOptions {
  /** Absent: the shipped default, which cannot change. */
  readonly file?: string
  readonly dataDir?: string
  /** What the proxy was started with. */
  readonly initial: LoadedConfig
  /** Opens all that can fail. @throws OptionUnusableError, or another DiscobotError that can be shown. */
  readonly prepare: (config: Config) => Promise<Prepared>
  readonly logger: Logger
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/** A configuration and the text that, over the default, it was made of. */
export interface LoadedConfig {
  readonly text: string
  readonly merged: Merged
}

export interface ConfigState {
  /** In force. */
  readonly config: Config
  /** What was asked for; differs from `config` in the keys of `pendingRestart`. */
  readonly desired: Merged
  readonly text: string
  readonly from: 'file' | 'api' | 'default'
  /** Dotted keys. */
  readonly pendingRestart: readonly string[]
  /** Another one after each change of this state. */
  readonly revision: string
  /** The file as it is now cannot be used. */
  readonly rejected?: { readonly problems: readonly Problem[]; readonly sinceMs: number }
}

interface Change {
  readonly kind: 'replace' | 'merge'
  readonly body: ChangeBody
  /** Whether the change is meant for this revision. */
  readonly matches: (revision: string) => boolean
  /** Write it to the file as well. */
  readonly persist: boolean
}

/** Follows the configuration file while the proxy runs, and takes changes to what is in force. One at a time. */
export class LiveConfig {
  readonly #options: LiveConfigOptions
  readonly #run = randomBytes(4).toString('hex')
  readonly #watch: FileWatch | undefined
  #state: ConfigState
  /** What the file said when it was last put in force. */
  #taken: SaidText
  #revisions = 1
  /** Of the file, when it was last read; undefined when it could not be. */
  #seen: string | undefined
  #queue: Promise<unknown> = Promise.resolve()
  #closed = false

  constructor(options: LiveConfigOptions) {
    this.#options = options
    const { text, merged } = options.initial
    this.#seen = text
    this.#taken = { text, config: merged.config }
    this.#state = {
      config: merged.config,
      desired: merged,
      text,
      from: options.file === undefined ? 'default' : 'file',
      pendingRestart: [],
      revision: this.#revision(),
    }
    if (options.file !== undefined)
      this.#watch = watchFile(options.file, () => this.#follow(false), options.logger)
  }

  get state(): ConfigState {
    return this.#state
  }

  /** The file the proxy was started with. */
  get file(): string | undefined {
    return this.#options.file
  }

  /** Reads the file again, even if it has not changed. One that cannot be used is logged, and the old one stays. */
  reload(): Promise<void> {
    return this.#follow(true)
  }

  /**
   * Puts a change in force, whole or not at all.
   *
   * @throws ConfigError, RevisionError, PersistError, or what `prepare` threw; nothing has changed then.
   */
  change(change: Change): Promise<ConfigState> {
    return this.#exclusively(async () => {
      const { file } = this.#options
      const former = this.#state
      if (this.#closed) throw new RevisionError('cannot change the configuration: the proxy is stopping')
      if (!change.matches(former.revision)) {
        throw new RevisionError(
          `cannot change the configuration: it is at revision ${former.revision} by now`,
        )
      }
      const target = change.persist ? await this.#persistable() : undefined
      const load = await this.#loader()
      const { requestedText } = await import('./change.js')
      const request = requestedText(change.kind, change.body, former, load)
      if (target === undefined) {
        const merged = load(request.text)
        await (await this.#prepare(merged, 'request')).commit()
        this.#accept({ text: request.text, merged, from: 'api', rejected: former.rejected })
      } else {
        const { editYaml } = await import('./edit-yaml.js')
        const text = editYaml(target.text, request.value)
        if (text === undefined) {
          throw new PersistError(
            `cannot write ${target.file}: its anchors and aliases stand in the way; edit it by hand`,
          )
        }
        if (Buffer.byteLength(text) > MAX_CONFIG_BYTES) {
          throw new PersistError(
            `cannot write ${target.file}: it would be larger than ${MAX_CONFIG_BYTES} bytes`,
          )
        }
        const merged = load(text)
        const prepared = await this.#prepare(merged, 'request')
        try {
          await replaceFile(target.file, text)
        } catch (error) {
          prepared.discard()
          throw error
        }
        this.#seen = text
        await prepared.commit()
        this.#accept({ text, merged, from: 'file' })
      }
      this.#options.logger.info(
        { revision: this.#state.revision, file: change.persist ? file : undefined },
        'configuration changed by the API',
      )
      return this.#state
    })
  }

  /** Resolves when no change is under way any more. */
  async close(): Promise<void> {
    this.#closed = true
    this.#watch?.close()
    await this.#queue
  }

  #follow(anyway: boolean): Promise<void> {
    return this.#exclusively(async () => {
      const { file, logger } = this.#options
      if (this.#closed) return
      let text: string | undefined
      try {
        if (file !== undefined) {
          text = await readConfigText(file)
          // Of a file that could not be used, what it names may be there by now.
          if (!anyway && text === this.#seen && this.#state.rejected === undefined) return
          this.#seen = text
        }
        const merged = (await this.#loader())(text ?? SAYS_NOTHING)
        if (file !== undefined && text !== undefined) {
          const cutOff = cutOffProblem(file, { text, config: merged.config }, this.#taken)
          if (cutOff !== undefined) throw new ConfigError(file, [cutOff])
        }
        await (await this.#prepare(merged, 'file')).commit()
        this.#accept({ text: text ?? SAYS_NOTHING, merged, from: file === undefined ? 'default' : 'file' })
        const trouble = readTroubleLine(this.#state.text)
        if (trouble === undefined) logger.info({}, 'configuration reloaded')
        else logger.warn({ problem: trouble }, "the operator's file cannot be used")
      } catch (error) {
        // So that the file is read as new when it can be read again.
        if (text === undefined) this.#seen = undefined
        this.#reject(problemsOf(error, file ?? 'the default'), anyway)
      }
    })
  }

  /** Brings in what checks a configuration, which a start does without. What it resolves with throws ConfigError. */
  async #loader(): Promise<(text: string) => Merged> {
    const { loadConfigText } = await import('../../config/layers/load.js')
    const { file, dataDir } = this.#options
    return (text) => loadConfigText(text, file ?? 'config.yaml', dataDir === undefined ? {} : { dataDir })
  }

  /** @throws ConfigError naming the option that is to blame, and its place in the file. */
  async #prepare(merged: Merged, from: 'file' | 'request'): Promise<Prepared> {
    try {
      return await this.#options.prepare(withoutRestart(this.#state.config, merged.config))
    } catch (error) {
      const option = error instanceof OptionUnusableError ? error.option : undefined
      const origin = option === undefined ? undefined : merged.sources[option]?.[0]
      if (!(error instanceof DiscobotError) || origin === undefined) throw error
      const { file, line, col } = origin
      const message = `option ${JSON.stringify(option)}: ${error.message}`
      // The text of a request is our own rendering, whose lines mean nothing to the sender.
      const place = from === 'file' ? { mark: { line, col } } : {}
      throw new ConfigError(file, [{ kind: 'invalid', file, message, ...place }])
    }
  }

  #accept({
    text,
    merged,
    from,
    rejected,
  }: Pick<ConfigState, 'text' | 'from'> & {
    readonly merged: Merged
    readonly rejected?: ConfigState['rejected']
  }): void {
    if (from === 'file') this.#taken = { text, config: merged.config }
    const config = withoutRestart(this.#state.config, merged.config)
    const pendingRestart = keysPendingRestart(config, merged.config)
    if (pendingRestart.length > 0) {
      this.#options.logger.warn({ keys: pendingRestart.join(',') }, 'these keys apply at the next start only')
    }
    this.#state = {
      config,
      desired: merged,
      text,
      from,
      pendingRestart,
      revision: this.#revision(),
      ...(rejected === undefined ? {} : { rejected }),
    }
  }

  #reject(problems: readonly Problem[], anyway: boolean): void {
    const before = this.#state.rejected
    const lines = problems.map(formatProblem)
    // A file that stays away is found missing at every look.
    const isNews = lines.join('\n') !== before?.problems.map(formatProblem).join('\n')
    if (!isNews && !anyway) return
    for (const problem of lines) {
      this.#options.logger.error({ problem }, 'cannot reload the configuration; the old one stays')
    }
    const sinceMs = before?.sinceMs ?? this.#options.now()
    this.#state = { ...this.#state, revision: this.#revision(), rejected: { problems, sinceMs } }
  }

  /** @throws PersistError unless the file is there and says what is known of it. */
  async #persistable(): Promise<{ readonly file: string; readonly text: string }> {
    const { file } = this.#options
    if (file === undefined) {
      throw new PersistError('cannot persist a change: the proxy was started without -config FILE')
    }
    const text = await readConfigText(file).catch((error: unknown) => {
      throw new PersistError(`cannot persist a change: ${reasonOf(error)}`, { cause: error })
    })
    if (text !== this.#seen) {
      throw new PersistError(`cannot persist a change: ${file} was changed a moment ago; try again`)
    }
    if (this.#state.rejected !== undefined) {
      throw new PersistError(`cannot persist a change: ${file} has problems; mend them first`)
    }
    return { file, text }
  }

  #revision(): string {
    return `${this.#run}-${this.#revisions++}`
  }

  #exclusively<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work)
    this.#queue = result.catch(() => undefined)
    return result
  }
}

function problemsOf(error: unknown, file: string): readonly Problem[] {
  if (error instanceof ConfigError) return error.problems
  return [{ kind: 'unreadable', file, message: reasonOf(error) }]
}
