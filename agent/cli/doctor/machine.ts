import { existsSync, readFileSync, statfsSync, type StatsFs } from 'node:fs'
import { dirname } from 'node:path'
import { reasonOf } from '../../../base/errors.js'
import { findHierarchy } from '../../cgroups/find-hierarchy.js'
import { isWritable } from '../../cgroups/service-group.js'
import { missingCapabilities } from '../../docker/plan.js'
import type { NativeCalls } from '../../process/native.js'
import type { AgentOptions } from '../../settings/options.js'
import { findTool } from '../../process/run-as.js'
import { ok, type Finding } from './finding.js'

/** A gibibyte: a few image layers. */
const LOW_BYTES = 1024 ** 3
/** Less than a log and a configuration may need. */
const NO_BYTES = 64 * 1024 ** 2
/** Of blocks or inodes. */
const LOW_SHARE = 0.03

/** @param status text of `/proc/1/status`: what process 1 may do, whoever asks. */
export function checkCapabilities({ docker, mode }: AgentOptions, status: string): Finding {
  const check = 'capabilities'
  if (mode === 'plain') return ok(check, 'none are needed outside a container')
  const missing = missingCapabilities(status)
  if (missing.length === 0) return ok(check, 'mounting and a Docker engine are permitted')
  const without = docker === 'off' ? 'no sessions' : 'no Docker engine and no sessions'
  const remedy = 'run the container with --privileged'
  return { check, state: 'warning', what: `${missing.join(' and ')} missing: ${without}`, remedy }
}

/** Control groups for services, as the agent looks for them. */
export function checkCgroups({ mode }: AgentOptions, uid: number): Finding {
  const check = 'control groups'
  if (mode === 'plain') return ok(check, 'left alone outside a container')
  try {
    const found = findHierarchy(
      readFileSync('/proc/1/mountinfo', 'utf8'),
      readFileSync('/proc/1/cgroup', 'utf8'),
      existsSync,
    )
    const remedy = 'run the container with --privileged or a writable /sys/fs/cgroup'
    if (found.kind === 'none') return { check, state: 'warning', what: found.reason, remedy }
    if (isWritable(found.folder)) return ok(check, `${found.kind}, ${found.folder} is writable`)
    if (uid !== 0) return { check, state: 'unknown', what: 'only root can tell', remedy: 'ask as root' }
    const what = `${found.folder} is not writable: what a service leaves behind is found by its mark alone`
    return { check, state: 'warning', what, remedy }
  } catch (error) {
    return { check, state: 'unknown', what: reasonOf(error), remedy: 'ask as root, with /proc mounted' }
  }
}

/** Without them no service runs as another account, or within limits. */
export function checkTools({ mode }: AgentOptions): Finding {
  const check = 'util-linux'
  if (mode === 'plain') return ok(check, 'not needed outside a container')
  try {
    for (const tool of ['setpriv', 'prlimit']) findTool(tool, tool, [`/usr/bin/${tool}`, `/bin/${tool}`])
    return ok(check, 'setpriv and prlimit are there')
  } catch (error) {
    return { check, state: 'problem', what: reasonOf(error), remedy: 'install util-linux in the image' }
  }
}

export function checkReaping(native: NativeCalls): Finding {
  const check = 'reaping'
  if (native.name !== 'none') return ok(check, `by ${native.name}`)
  const what = `orphans stay zombies: ${native.reason ?? 'the native call is missing'}`
  return {
    check,
    state: 'problem',
    what,
    remedy: 'run the container with an init of its own (docker run --init)',
  }
}

/** @param statfs what the file system of a path has to say, as statfs(2). */
export function checkDisk(
  { data }: AgentOptions,
  statfs: (path: string) => StatsFs = (path) => statfsSync(path),
): Finding {
  const check = 'disk'
  const remedy = `make room in ${data.root}, or lower cache.max_size`
  try {
    const { bavail, blocks, bsize, ffree, files } = statfs(existing(data.root))
    const free = bavail * bsize
    const what = `${(free / 1024 ** 3).toFixed(1)} GiB left in ${data.root}`
    if (free < NO_BYTES) return { check, state: 'problem', what, remedy }
    if (free < LOW_BYTES || bavail < blocks * LOW_SHARE) return { check, state: 'warning', what, remedy }
    // Some file systems make inodes as they need them, and say there are none.
    if (files > 0 && ffree < files * LOW_SHARE)
      return { check, state: 'warning', what: `${ffree} of ${files} inodes left in ${data.root}`, remedy }
    return ok(check, what)
  } catch (error) {
    return { check, state: 'unknown', what: reasonOf(error), remedy: 'is DISCOBOT_DATA_DIR the agent’s?' }
  }
}

/** The folder, or the one it would be made in. */
function existing(folder: string): string {
  return existsSync(folder) || dirname(folder) === folder ? folder : existing(dirname(folder))
}

/** Docker gives a container 10 s unless told otherwise, and tells the container nothing of it. */
export function checkStopTimeout(options: AgentOptions): Finding {
  const { mode, stopTimeoutMs, inherited } = options
  const check = 'stop time'
  const what = `a stop may take ${stopTimeoutMs / 1_000} s`
  if (mode === 'plain' || inherited['DISCOBOT_CONTAINER_STOP_TIMEOUT'] !== undefined) return ok(check, what)
  if (stopTimeoutMs <= DOCKERS_STOP_MS) return ok(check, what)
  return {
    check,
    state: 'warning',
    what: `${what}, and docker stop waits 10 s unless it is told`,
    remedy: 'docker run --stop-timeout 40, and set DISCOBOT_CONTAINER_STOP_TIMEOUT to what it is',
  }
}

const DOCKERS_STOP_MS = 10_000
