import { readFileSync } from 'node:fs'
import type { Test } from 'tap'

/** Often enough to see a buffer that grows at a hundred mebibytes a second, seldom enough not to be in the way. */
const SAMPLE_MS = 50

/** The most memory a process was seen to have resident, from outside. */
export class ResidentPeak {
  readonly #pid: number
  readonly #timer: NodeJS.Timeout
  #peakBytes: number
  #samples = 1

  /** Looks until it is stopped, or until the test ends. */
  constructor(t: Test, pid: number) {
    this.#pid = pid
    this.#peakBytes = residentBytes(pid)
    this.#timer = setInterval(() => this.#sample(), SAMPLE_MS)
    t.teardown(() => clearInterval(this.#timer))
  }

  stop(): { readonly peakBytes: number; readonly samples: number } {
    clearInterval(this.#timer)
    this.#sample()
    return { peakBytes: this.#peakBytes, samples: this.#samples }
  }

  #sample(): void {
    this.#peakBytes = Math.max(this.#peakBytes, residentBytes(this.#pid))
    this.#samples += 1
  }
}

/** @throws if there is no such process. */
export function residentBytes(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]
  if (kib === undefined) throw new Error(`cannot tell what process ${pid} has resident: it has ended`)
  return Number(kib) * 1024
}
