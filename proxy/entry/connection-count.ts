import type { LimitsSection } from '../../config/model/config.js'
import { OverloadError } from '../socket/overload.js'

/** Connections come and go within milliseconds. */
const RETRY_AFTER_S = 1

interface ConnectionCountOptions {
  readonly limits: () => LimitsSection
  /** What the process can hold, whatever is configured. */
  readonly ceiling: number
}

/** Who has how many connections. */
export class ConnectionCount {
  readonly #options: ConnectionCountOptions
  readonly #byAddress = new Map<string, number>()
  #all = 0

  constructor(options: ConnectionCountOptions) {
    this.#options = options
  }

  /** Counts one more, or says why it is too many and does not count it. */
  add(address: string): OverloadError | undefined {
    const { connections, client_connections } = this.#options.limits()
    const most = Math.min(connections, this.#options.ceiling)
    const own = this.#byAddress.get(address) ?? 0
    if (this.#all >= most) {
      const why = most < connections ? 'all that its open files allow' : 'limits.connections'
      return new OverloadError(`the proxy has ${most} connections (${why})`, RETRY_AFTER_S)
    }
    if (own >= client_connections) {
      const reason = `${address} has ${client_connections} connections (limits.client_connections)`
      return new OverloadError(reason, RETRY_AFTER_S)
    }
    this.#all += 1
    this.#byAddress.set(address, own + 1)
    return undefined
  }

  remove(address: string): void {
    this.#all -= 1
    const left = (this.#byAddress.get(address) ?? 1) - 1
    if (left === 0) this.#byAddress.delete(address)
    else this.#byAddress.set(address, left)
  }
}
