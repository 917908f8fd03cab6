import { join } from 'node:path'
import { mkdir, readFile } from '../../base/files/files-at-once.js'
import { reasonOf } from '../../base/errors.js'
import { isWithin } from '../../config/model/paths.js'
import { loadMountCalls, type MountCalls } from '../system/mount-calls.js'
import { mountsWithin, parseMountTable } from '../system/mount-table.js'
import { tryOverlay } from './trial.js'

/**
 * How the home will be made, decided before anything is put into it: a workspace cannot be moved below an overlay
 * once it is there.
 */
export type HomePlan =
  | {
      readonly kind: 'plain'
      readonly reason: string
      /** It was wanted and cannot be had: what to do about it. */
      readonly remedy?: string
    }
  | {
      readonly kind: 'layered'
      readonly calls: MountCalls
      /** Lower folder: the image's home and the workspace, the same for every session. */
      readonly base: string
      /** Folders of it can be renamed in the overlay. */
      readonly rename: boolean
    }

interface HomePlanOptions {
  readonly wanted: 'auto' | 'off'
  readonly home: string
  /** Folder of ours that keeps the layers. */
  readonly homeDir: string
}

/** Marks our overlays in the mount table; the session's id follows. */
export const MOUNT_SOURCE = 'discobot-session-'

const REMEDY =
  'run the container with --privileged and a volume at DISCOBOT_DATA_DIR, or set DISCOBOT_OVERLAY=off'

export async function planHome({ wanted, home, homeDir }: HomePlanOptions): Promise<HomePlan> {
  if (wanted === 'off') return { kind: 'plain', reason: 'DISCOBOT_OVERLAY is "off"' }
  if (isWithin(homeDir, home) || isWithin(home, homeDir))
    return { kind: 'plain', reason: `${home} and the data dir lie within each other` }
  try {
    const mounts = parseMountTable(await readFile('/proc/self/mountinfo', 'utf8'))
    const foreign = mountsWithin(mounts, home).find(({ source }) => !source.startsWith(MOUNT_SOURCE))
    // An overlay of the folder above does not show it.
    if (foreign !== undefined) return { kind: 'plain', reason: `something is mounted at ${foreign.target}` }
    const calls = await loadMountCalls()
    await mkdir(homeDir, { recursive: true })
    const trial = tryOverlay(homeDir, calls)
    if ('works' in trial) return { kind: 'layered', calls, base: join(homeDir, 'base'), rename: trial.rename }
    return {
      kind: 'plain',
      reason: `cannot lay an overlay over ${home} from ${homeDir}: ${trial.reason}`,
      remedy: REMEDY,
    }
  } catch (error) {
    return { kind: 'plain', reason: `cannot lay an overlay over ${home}: ${reasonOf(error)}`, remedy: REMEDY }
  }
}
