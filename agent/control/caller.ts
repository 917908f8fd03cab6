import { timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { reasonOf } from '../../base/errors.js'
import { ControlRefusedError } from './errors.js'
import { loadAskPeer, type AskPeer } from './peer-credentials.js'

/**
 * What a request asks for: `services` are changes of single services, `guards` of those that guard the workspace's
 * account, `all` is everything else that changes.
 */
type Change = 'services' | 'guards' | 'all'

export interface CallerRules {
  /** Lets whoever sends it change services, and nothing more. */
  readonly token?: string
  readonly ownUid: number
  /** A test may hand in its own. */
  readonly loadAskPeer?: () => Promise<AskPeer>
}

/**
 * Who may change something: root and the account we run as, by the kernel's word; services also for whoever
 * has the token, which is the workspace's account, unless they guard it. Everybody who can connect at all may ask.
 */
export class Callers {
  readonly #rules: CallerRules
  #askPeer: Promise<AskPeer> | undefined

  constructor(rules: CallerRules) {
    this.#rules = rules
  }

  /** @throws ControlRefusedError */
  async check(request: IncomingMessage, change: Change): Promise<void> {
    const given = /^Bearer (\S+)$/i.exec(request.headers.authorization ?? '')?.[1]
    if (given !== undefined) {
      if (!isSame(given, this.#rules.token)) throw new ControlRefusedError('the token is not the right one')
      if (change === 'guards')
        throw new ControlRefusedError(
          "this service guards the workspace's account, which may not change it; ask as root, by discobot-agent",
        )
      if (change !== 'services') throw new ControlRefusedError('the token is for services only')
      return
    }
    let askPeer: AskPeer
    try {
      askPeer = await (this.#askPeer ??= (this.#rules.loadAskPeer ?? loadAskPeer)())
    } catch (error) {
      throw new ControlRefusedError(`who asks cannot be told (${reasonOf(error)})`, { cause: error })
    }
    const peer = askPeer(request.socket)
    if (peer?.uid === 0 || (peer !== undefined && peer.uid === this.#rules.ownUid)) return
    throw new ControlRefusedError(
      peer === undefined ? 'the connection is gone' : `uid ${peer.uid} may only look; ask as root`,
    )
  }
}

function isSame(given: string, token: string | undefined): boolean {
  if (token === undefined) return false
  const [a, b] = [Buffer.from(given), Buffer.from(token)]
  return a.length === b.length && timingSafeEqual(a, b)
}
