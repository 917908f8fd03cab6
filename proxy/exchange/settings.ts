import type { Config, LimitsSection, TimeoutsSection } from '../../config/model/config.js'
import type { Logger } from '../../base/log/logger.js'
import { ProxyAuth, type Credentials } from '../credentials/auth.js'
import { Injector } from '../credentials/inject.js'
import { Policy } from '../policy/policy.js'
import type { Secrets } from '../credentials/secrets.js'

/** The compiled part of the configuration that each request reads; replaced whole by a reload. */
export interface Settings {
  readonly policy: Policy
  readonly injector: Injector
  readonly auth: ProxyAuth
  /** Milliseconds. */
  readonly timeouts: TimeoutsSection
  readonly limits: LimitsSection
}

/** @param own see {@link ProxyAuth}. */
export function compileSettings(
  config: Config,
  secrets: Secrets,
  own: Credentials,
  logger: Logger,
): Settings {
  return {
    policy: new Policy(config),
    auth: new ProxyAuth(config.proxy.auth, secrets, own),
    timeouts: config.timeouts,
    limits: config.limits,
    injector: new Injector(config.headers, secrets, (withheld) =>
      logger.warn(withheld, withheld.rule === undefined ? 'placeholder not swapped' : 'header rule withheld'),
    ),
  }
}
