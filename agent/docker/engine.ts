import type { DockerPlan } from './plan.js'

type EngineKind = 'rootful' | 'rootless'

/** Which Docker engine runs here, decided once for the life of the container. */
export type Engine =
  | { readonly kind: EngineKind; readonly dockerd: string; readonly why: string }
  /** With a remedy where somebody counts on an engine; without one it is in order as it is. */
  | { readonly kind: 'none'; readonly why: string; readonly remedy?: string }

/** The engines that could run here, as far as that is known before one is tried. */
export interface EngineCandidates {
  readonly wanted: 'auto' | 'off' | EngineKind
  readonly rootful: DockerPlan
  readonly rootless: DockerPlan
}

/**
 * Whoever may use the socket of a rootful engine is root. So unless it was named, it is not given to the workspace's
 * user while there is something to keep from that user.
 *
 * @param refusals why a rootful engine is refused, each the rest of a sentence after "since"; none where it is not.
 */
export function chooseEngine(candidates: EngineCandidates, refusals: readonly string[]): Engine {
  const { wanted, rootful, rootless } = candidates
  if (wanted === 'off') return { kind: 'none', why: 'DISCOBOT_DOCKER is "off"' }
  if (wanted !== 'auto') return asNamed(wanted, candidates[wanted])
  if (refusals.length === 0) return withoutSecrets(rootful)
  const since = refusals.join(', and since ')
  if (rootless.run) return { kind: 'rootless', dockerd: rootless.dockerd, why: since }
  // There would be none without that, either.
  if (!rootful.run) return { kind: 'none', why: rootful.reason }
  return {
    kind: 'none',
    why: `a rootful engine is refused, since ${since}, and a rootless one cannot run: ${rootless.reason}`,
    remedy: ROOTFUL_INSTEAD,
  }
}

/** It is quicker, its containers have limits, and it may listen on every port. */
function withoutSecrets(rootful: DockerPlan): Engine {
  if (!rootful.run) return { kind: 'none', why: rootful.reason }
  return { kind: 'rootful', dockerd: rootful.dockerd, why: 'there is no secret to keep from its users' }
}

function asNamed(kind: EngineKind, plan: DockerPlan): Engine {
  const named = `DISCOBOT_DOCKER is "${kind}"`
  if (plan.run) return { kind, dockerd: plan.dockerd, why: named }
  return { kind: 'none', why: `${named}, and that cannot run: ${plan.reason}`, remedy: 'set it to auto' }
}

const ROOTFUL_INSTEAD =
  'mend that, or set DISCOBOT_DOCKER=rootful, beside which secrets are withheld unless they say trust_docker: true'

/** An engine leaves this open to whoever may use it. */
const NOT_STOPPED: Readonly<Record<EngineKind, readonly string[]>> = {
  rootful: [
    "who may use its socket is root in the container: the CA's key, the API token, the configuration and what the proxy knows are open to them",
  ],
  rootless: [
    "its containers read and change what the workspace's user may, where a folder is mounted into them",
    'they use up memory and processor time as they like: --memory, --cpus and --pids-limit do not apply',
  ],
}

/** The engine as `status` shows it. */
export interface EngineStatus {
  readonly kind: Engine['kind']
  /** Why this one; the rest of a sentence after "since". */
  readonly why: string
  readonly remedy?: string
  readonly notStopped: readonly string[]
  /** What does not work because of where it runs. */
  readonly limits: readonly string[]
}

export function describeEngine(engine: Engine, limits: readonly string[] = []): EngineStatus {
  const { kind, why } = engine
  return {
    kind,
    why,
    ...(kind === 'none' && engine.remedy !== undefined ? { remedy: engine.remedy } : {}),
    notStopped: kind === 'none' ? [] : NOT_STOPPED[kind],
    limits,
  }
}
