import type { Config } from '../config/config.js'
import { Injector } from './inject.js'
import { Policy } from './policy.js'

/** The compiled part of the configuration that each request reads; replaced whole by a reload. */
export interface Settings {
  readonly policy: Policy
  readonly injector: Injector
}

export function compileSettings(config: Config): Settings {
  return {
    policy: new Policy(config),
    injector: new Injector(config.headers),
  }
}
