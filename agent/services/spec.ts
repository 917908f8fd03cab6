/** What to run and how to keep it running. Frozen once the service exists. */
export interface ServiceSpec {
  /** Lower-case letters, digits and dashes; unique. */
  readonly name: string
  /** Program and arguments; never through a shell. */
  readonly command: readonly [string, ...string[]]
  /** The complete environment: nothing is inherited from process 1. */
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string
  /** Account to run as, with its supplementary groups; absent means ours. */
  readonly user?: string
  /** Names of services that must be ready before this one starts, and that stop after it. */
  readonly after: readonly string[]
  readonly readiness: Readiness
  /** How long a start may take until the process counts as not coming up. */
  readonly readyTimeoutMs: number
  readonly restart: 'always' | 'on-failure' | 'never'
  /** The container ends, with this service's code, when it fails for good. */
  readonly essential: boolean
  /** Between SIGTERM to the group and SIGKILL. */
  readonly stopGraceMs: number
}

/** How a started process shows that it answers, which is more than that its port accepts. */
export type Readiness =
  | { readonly kind: 'http'; readonly url: string }
  | { readonly kind: 'unix-http'; readonly socketPath: string; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  /** Ready as soon as it runs. */
  | { readonly kind: 'started' }

export type ServiceState = 'stopped' | 'starting' | 'ready' | 'backing-off' | 'stopping' | 'failed'

/** A service as `status` shows it. */
export interface ServiceStatus {
  readonly name: string
  readonly state: ServiceState
  readonly pid?: number
  /** ISO 8601, when the present state began. */
  readonly since: string
  readonly restarts: number
  /** How the last process of this service ended, in words: `exit code 1`, `SIGKILL`. */
  readonly lastExit?: string
  /** Why it is in this state, when that is not obvious. */
  readonly reason?: string
}
