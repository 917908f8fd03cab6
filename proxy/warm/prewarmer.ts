import { parsePlatform, ownPlatform } from '../../base/oci/platform.js'
import type { JobReport, PrewarmJob } from './prewarm-job.js'
import { ThroughProxy, type ProxyAddress } from '../../base/oci/through-proxy.js'
import { WarmReferenceError } from '../../base/oci/errors.js'

/** Each holds some connections; whoever wants more at once waits, or names more in one job. */
const MAX_RUNNING = 4
/** Ended ones, so that who started one can still learn how it went. */
const MAX_ENDED = 16

export interface PrewarmRequest {
  readonly references: readonly string[]
  readonly platform?: string
}

/** The jobs that warm the cache. */
export class Prewarmer {
  readonly #through: ThroughProxy
  readonly #arch: string
  readonly #jobs = new Map<string, PrewarmJob>()

  /** @param arch of this machine, in Node's words. */
  constructor(proxy: () => ProxyAddress, arch: string) {
    this.#through = new ThroughProxy(proxy)
    this.#arch = arch
  }

  /** Resolves with undefined when too many jobs run. @throws WarmReferenceError */
  async start({ references, platform }: PrewarmRequest): Promise<PrewarmJob | undefined> {
    // Nothing of it is needed to serve.
    const { MAX_REFERENCES, parseWarmReference, PrewarmJob } = await import('./prewarm-job.js')
    if (references.length === 0 || references.length > MAX_REFERENCES) {
      throw new WarmReferenceError(`cannot warm ${references.length} references: name 1 to ${MAX_REFERENCES}`)
    }
    const wanted = platform === undefined ? ownPlatform(this.#arch) : parsePlatform(platform)
    const parsed = references.map(parseWarmReference)
    const running = [...this.#jobs.values()].filter(({ state }) => state === 'running')
    if (running.length >= MAX_RUNNING) return undefined
    const job = new PrewarmJob(this.#through, parsed, wanted)
    this.#jobs.set(job.id, job)
    this.#forgetEnded()
    return job
  }

  find(id: string): PrewarmJob | undefined {
    return this.#jobs.get(id)
  }

  reports(): readonly JobReport[] {
    return [...this.#jobs.values()].map((job) => job.report())
  }

  /** Resolves when no job runs any more. */
  async close(): Promise<void> {
    for (const job of this.#jobs.values()) job.cancel()
    await Promise.all([...this.#jobs.values()].map(({ ended }) => ended))
    this.#through.close()
  }

  #forgetEnded(): void {
    const ended = [...this.#jobs.values()].filter(({ state }) => state !== 'running')
    for (const { id } of ended.slice(0, Math.max(0, ended.length - MAX_ENDED))) this.#jobs.delete(id)
  }
}
