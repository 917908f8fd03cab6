import type { ConfigurationFinding } from '../../status/status.js'
import type { Engine } from '../../docker/engine.js'
import type { ProxyAccess } from '../../settings/environment.js'
import type { HomePlan } from '../../overlay/home-plan.js'
import type { Enforcement } from '../../wall/enforcement.js'
import type { WallFindings } from '../../wall/wall-findings.js'
import type { CloneRecord } from '../../workspace/clone-record.js'
import type { GitSource } from '../../workspace/source.js'

/**
 * What one boot step found out and later ones build on. Each field has one writer; whoever reads it names that
 * step in its `needs`. A field that is still absent then means that its step failed or had nothing to do.
 */
export interface BootFindings {
  /** Before the boot: what Node processes load so that `fetch` uses the proxy. */
  fetchPreload?: string
  /** By `home`, in a container. */
  home?: HomePlan
  /** By `workspace`, when it is a clone of ours, and by the steps that complete it. */
  clone?: Clone
  /** By `proxy-config`. */
  proxy?: ProxyEndpoints
  /** By `proxy-config`, and whenever the configuration is read again. */
  configuration?: ConfigurationFinding
  /** By the watch of the operator's file, while what it shows is not what the operator has written. */
  operatorReplaced?: string
  /** By `proxy-config`: the variables of ours that are the proxy's alone. */
  secretVariables?: readonly string[]
  /** By `proxy-config`; before the boot where there is no proxy. */
  wall?: WallFindings
  /** By `wall`, and whenever the configuration is read again. */
  enforcement?: Enforcement
  /** By `trust`. */
  trust?: TrustFiles
  /** By `proxy`, once it answers. */
  proxyAnswers?: boolean
  /** By `proxy-config`; before the boot where there is no proxy. It does not change afterwards. */
  engine?: Engine
  /** By `dockerd`: what does not work because of where the engine runs. */
  engineLimits?: readonly string[]
  /** By `dockerd`: digest of the certificates it was started with. */
  dockerdTrusts?: string
}

/**
 * How programs get through the proxy, once it answers and they can be made to trust it; until then nobody is
 * sent there. Whoever asks needs the steps `proxy` and `trust`.
 */
export function proxyAccess({
  proxy,
  trust,
  proxyAnswers,
  fetchPreload,
}: BootFindings): ProxyAccess | undefined {
  if (proxyAnswers !== true || proxy === undefined || trust === undefined) return undefined
  return {
    host: proxy.host,
    port: proxy.port,
    ...trust,
    ...(fetchPreload === undefined ? {} : { fetchPreload }),
  }
}

/** A clone of ours, where the steps before the overlay find it. */
export interface Clone {
  readonly path: string
  readonly source: GitSource
  readonly record: CloneRecord
  /** Made in this very boot. */
  readonly fresh: boolean
}

/** Where the proxy of the configuration in force is to be reached from this machine. */
export interface ProxyEndpoints {
  readonly host: string
  readonly port: number
  readonly apiPort: number
  /** All addresses it listens on. */
  readonly hosts: readonly string[]
}

export interface TrustFiles {
  /** Our certificate alone, readable by everybody. */
  readonly caFile: string
  /** The system's certificates and ours. */
  readonly bundleFile: string
}
