import {
  accessSync,
  chownSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join, resolve } from 'node:path'
import { reasonOf } from '../../base/errors.js'
import type { Clock } from '../process/clock.js'
import { readStat } from '../process/proc-stat.js'
import { findOnPath } from '../settings/programs.js'
import { sendSignal } from '../process/send-signal.js'
import type { Hierarchy } from './find-hierarchy.js'

/** Besides the folder itself: cgroups(7) for version 2, cgroup-v1/cgroups for version 1. */
const DELEGATED: Readonly<Record<Hierarchy['kind'], readonly string[]>> = {
  v2: ['cgroup.procs', 'cgroup.threads', 'cgroup.subtree_control'],
  v1: ['cgroup.procs', 'tasks'],
}

type Command = readonly [string, ...string[]]

const POLL_MS = 5
/** A process in state D does not heed SIGKILL; whoever waits for it is told. */
const KILL_WAIT_MS = 2_000
/** Never from the service's PATH: it runs as root. */
const SHELL = '/bin/sh'
/** A group that cannot be joined costs the certainty that nothing survives, not the service. */
const JOIN = '{ echo 0 >"$0/cgroup.procs"; } 2>/dev/null; exec "$@"'

/** The control group of one service: whatever it starts is in there, whoever its parent and whatever its session. */
export class ServiceGroup {
  readonly #kind: Hierarchy['kind']
  readonly #folder: string
  #delegation = 'none: nobody has asked for it'

  constructor(kind: Hierarchy['kind'], folder: string) {
    this.#kind = kind
    this.#folder = folder
  }

  /**
   * The command that joins the group and replaces itself by `command`: before that runs, so that it cannot have
   * started anything outside. What cannot be run is left as it is, to fail in its own words.
   *
   * @param path the search path that the command will have, and `cwd` its folder.
   */
  within(command: Command, path: string, cwd = '/'): Command {
    const [program] = command
    const file = program.includes('/') ? resolve(cwd, program) : findOnPath(program, path)
    if (file === undefined || !isExecutable(file) || !existsSync(SHELL)) return command
    try {
      mkdirSync(this.#folder, { recursive: true })
    } catch {
      return command
    }
    return [SHELL, '-c', JOIN, this.#folder, ...command]
  }

  /**
   * Lets the account make groups below this one and move what is in it between them, as cgroups(7), "Delegation", has
   * it. With version 2 nothing gets out of it or into it so; with version 1 the account may move all its own processes.
   *
   * @returns whether that could be done; {@link delegation} says why not.
   */
  delegateTo(uid: number, gid: number): boolean {
    try {
      mkdirSync(this.#folder, { recursive: true })
      for (const name of ['', ...DELEGATED[this.#kind]]) {
        const path = join(this.#folder, name)
        if (existsSync(path)) chownSync(path, uid, gid)
      }
      this.#delegation = `${this.#kind} in ${this.#folder}`
      return true
    } catch (error) {
      this.#delegation = `none: ${reasonOf(error)}`
      return false
    }
  }

  /** For `status`: where the service may make groups, or why nowhere. */
  get delegation(): string {
    return this.#delegation
  }

  /** For {@link openGroup} in another program. */
  get location(): string {
    return `${this.#kind}:${this.#folder}`
  }

  /** A group below it, made when something is to be in it. */
  below(name: string): ServiceGroup {
    return new ServiceGroup(this.#kind, join(this.#folder, name))
  }

  /** Living processes in it and in groups that they have made below it. */
  pids(): number[] {
    return foldersBelow(this.#folder)
      .flatMap((folder) => readPids(folder))
      .filter((pid) => pid > 0 && pid !== process.pid && readStat(pid)?.state !== 'Z')
  }

  /** Kills all of them at once, whatever they do meanwhile. Resolves with those that cannot be killed. */
  async kill(clock: Clock): Promise<number[]> {
    if (this.#kind === 'v2') this.#write('cgroup.kill', '1')
    else this.#killFrozen()
    const until = clock.now() + KILL_WAIT_MS
    let left = this.pids()
    while (left.length > 0 && clock.now() < until) {
      await clock.sleep(POLL_MS)
      // Of version 2 before Linux 5.14 there is no `cgroup.kill`, and one round may miss what was just forked.
      for (const pid of left) sendSignal(pid, 'SIGKILL')
      left = this.pids()
    }
    return left
  }

  /**
   * Takes the group away, which is possible once nothing is in it; until then it is in nobody's way. Never throws.
   *
   * @returns whether it is gone.
   */
  remove(): boolean {
    for (const folder of foldersBelow(this.#folder).reverse()) {
      try {
        rmdirSync(folder)
      } catch {
        // Somebody is in it, has taken it away, or has it in use in a way of its own: an empty folder does no harm.
      }
    }
    return !existsSync(this.#folder)
  }

  /** cgroup-v1/freezer: a frozen process takes a signal once it is thawed, and cannot fork before. */
  #killFrozen(): void {
    this.#write('freezer.state', 'FROZEN')
    for (const pid of this.pids()) sendSignal(pid, 'SIGKILL')
    this.#write('freezer.state', 'THAWED')
  }

  #write(file: string, text: string): void {
    try {
      writeFileSync(join(this.#folder, file), text)
    } catch {
      // Gone already, or a kernel without it: what is left is found by its pids.
    }
  }
}

/** The group that another program has told of; undefined where it told of none. */
export function openGroup(location: string | undefined): ServiceGroup | undefined {
  const [, kind, folder] = /^(v1|v2):(\/.+)$/s.exec(location ?? '') ?? []
  if (folder === undefined || (kind !== 'v1' && kind !== 'v2')) return undefined
  return new ServiceGroup(kind, folder)
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}

/** The folder itself first; nothing when it is gone. */
function foldersBelow(folder: string): string[] {
  try {
    const below = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory())
    return [folder, ...below.flatMap(({ name }) => foldersBelow(join(folder, name)))]
  } catch {
    return []
  }
}

function readPids(folder: string): number[] {
  try {
    return readFileSync(join(folder, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).map(Number)
  } catch {
    return []
  }
}

/** Whether groups can be made in the folder. */
export function isWritable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK)
    return true
  } catch {
    return false
  }
}
