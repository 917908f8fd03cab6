import type { LogLevel } from '../../base/log/contract.js'
import type { HeldSockets } from './held-sockets.js'

/** For a service that its control group is delegated to; absent where that cannot be. */
export const GROUP_VARIABLE = 'DISCOBOT_OWN_GROUP'

/** What to run and how to keep it running. Frozen once the service exists. */
export interface ServiceSpec {
  /** Lower-case letters, digits and dashes; unique. */
  readonly name: string
  /** Program and arguments; never through a shell. */
  readonly command: readonly [string, ...string[]]
  /** The complete environment: nothing is inherited from process 1. */
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string
  /**
   * For a process that is started before all is known that it needs: it waits, doing nothing, for what it reads from
   * this descriptor to its end. Never rejects. Only then does the time for getting ready begin. For the process alone:
   * unlike its environment and its files, no other process of the account can read it.
   */
  readonly handover?: { readonly fd: number; readonly given: Promise<string> }
  /** Its ports, which process 1 keeps (held-sockets.ts). Named to it in `LISTENERS_VARIABLE`. */
  readonly sockets?: HeldSockets
  /** It guards the workspace's account, which therefore may not change it. */
  readonly guards?: true
  /** Account to run as, with its supplementary groups; absent means ours. */
  readonly user?: string
  /** It may make control groups of its own below its own one; where is in {@link GROUP_VARIABLE}. */
  readonly delegated?: true
  /** Nothing it starts can gain rights by set-uid programs or file capabilities: PR_SET_NO_NEW_PRIVS, prctl(2). */
  readonly noNewPrivs?: boolean
  /** By prlimit(1), soft and hard alike; absent ones stay as ours are. */
  readonly limits?: Limits
  /** Lines below this are not logged; what is no line of our own programs counts as `info`. */
  readonly logLevel?: LogLevel
  /**
   * `oneshot`: it is ready once its process has ended with 0, within `readyTimeoutMs`, and stays so until it is
   * stopped; its readiness is `started`. Absent means a process that stays.
   */
  readonly type?: 'oneshot'
  /** Names of services that must be ready before this one starts, and that stop after it. */
  readonly after: readonly string[]
  readonly readiness: Readiness
  /** How long a start may take until the process counts as not coming up. */
  readonly readyTimeoutMs: number
  /** Asked for as long as it is ready; absent means that only its end counts. */
  readonly liveness?: Liveness
  readonly restart: 'always' | 'on-failure' | 'never'
  /** This many failures within that time, and it is given up; absent means as the supervisor has it. */
  readonly giveUp?: { readonly failuresAllowed: number; readonly windowMs: number }
  /** The container ends, with this service's code, when it fails for good. */
  readonly essential: boolean
  /**
   * Its leader alone is told to stop, and ends the rest in its own order. Absent means that all of its group are told
   * at once. What still runs in the end is killed either way.
   */
  readonly stopsItself?: true
  /** Between SIGTERM to the group and SIGKILL. */
  readonly stopGraceMs: number
}

/** How a started process shows that it answers, which is more than that its port accepts. */
export type Readiness =
  | Probe
  /** Its process writes a newline to this descriptor, 3 or more, as s6 and others do. */
  | { readonly kind: 'newline'; readonly fd: number }
  /** Ready as soon as it runs. */
  | { readonly kind: 'started' }

/** A question that can be asked again and again. */
export type Probe =
  | { readonly kind: 'http'; readonly url: string }
  | { readonly kind: 'unix-http'; readonly socketPath: string; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  /** There is a file, made or changed since the start. */
  | { readonly kind: 'file'; readonly path: string }

/** A service that does not answer `threshold` times in a row, each within `timeoutMs`, is ended as failed. */
export interface Liveness {
  readonly probe: Probe
  readonly periodMs: number
  readonly timeoutMs: number
  readonly threshold: number
}

/** getrlimit(2); bytes where it is a size. */
export interface Limits {
  readonly openFiles?: number
  readonly processes?: number
  readonly addressSpaceBytes?: number
  readonly coreBytes?: number
  readonly fileSizeBytes?: number
}

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
  /** What has to happen for it to go on: a service to be ready, an answer, the end of its processes. */
  readonly waitsFor?: string
  /** The container ends with it. */
  readonly essential?: true
}
