import { access, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { reasonOf } from '../../base/errors.js'
import { tryOverlay } from '../overlay/trial.js'
import { findOnPath } from '../settings/programs.js'
import type { CommandOptions, RunCommand } from '../system/command.js'
import { loadMountCalls, type MountCalls } from '../system/mount-calls.js'
import type { Choice } from './choice.js'
import type { DaemonSettings } from './daemon-settings.js'

function whyNoOverlay(dataRoot: string, calls: MountCalls): string | undefined {
  const trial = tryOverlay(dataRoot, calls)
  return 'works' in trial ? undefined : trial.reason
}

interface StorageOptions {
  readonly settings: DaemonSettings
  readonly dataRoot: string
  readonly run: RunCommand
  readonly command: CommandOptions
}

/** Those we can try, the best first. */
const TRIED = ['overlay2', 'fuse-overlayfs'] as const
type Tried = (typeof TRIED)[number]

/**
 * The first storage driver that works in the data root, by mounting with it, where dockerd would go by names: what
 * the images there were made with, then overlay2, fuse-overlayfs and, at last, vfs, which works everywhere.
 */
export async function chooseStorage(options: StorageOptions): Promise<Choice> {
  const named = options.settings.value('storage-driver')
  if (named !== undefined) return { flags: [], told: `storage ${named}, as set` }
  const { dataRoot } = options
  await mkdir(dataRoot, { recursive: true, mode: 0o710 })
  const former = await formerDriver(dataRoot)
  if (former !== undefined && !isTried(former)) return { flags: [], told: `storage ${former}, as before` }
  const calls = await loadMountCalls()
  const reasons: string[] = []
  const order = former === undefined ? TRIED : [former, ...TRIED.filter((driver) => driver !== former)]
  for (const driver of order) {
    const reason = driver === 'overlay2' ? whyNoOverlay(dataRoot, calls) : await tryFuse(options, calls)
    if (reason === undefined) return chosen(driver, former, reasons)
    reasons.push(`${driver}: ${reason}`)
  }
  return {
    ...chosen('vfs', former, reasons),
    limit:
      `storage driver vfs copies every image whole for each container (${reasons.join('; ')}); ` +
      'put DISCOBOT_DATA_DIR on a volume, or have fuse-overlayfs and /dev/fuse in the container',
  }
}

function chosen(driver: string, former: Tried | undefined, reasons: readonly string[]): Choice {
  const lost =
    former === undefined || former === driver
      ? {}
      : { limit: `the images of storage driver ${former} are out of sight (${reasons.join('; ')})` }
  return { flags: [['storage-driver', driver]], told: `storage ${driver}`, ...lost }
}

/** dockerd keeps its list of images apart for each driver. */
async function formerDriver(dataRoot: string): Promise<string | undefined> {
  const drivers = await readdir(join(dataRoot, 'image')).catch(() => [])
  return drivers.length === 1 ? drivers[0] : drivers.find(isTried)
}

function isTried(driver: string): driver is Tried {
  return TRIED.some((one) => one === driver)
}

/** @returns why not, or undefined when it works. */
async function tryFuse(
  { dataRoot, run, command }: StorageOptions,
  calls: MountCalls,
): Promise<string | undefined> {
  if (findOnPath('fuse-overlayfs', command.env['PATH'] ?? '') === undefined) return 'it is not installed'
  const scratch = await mkdtemp(join(dataRoot, '.fuse-trial-'))
  const at = (name: string): string => join(scratch, name)
  try {
    await access('/dev/fuse')
    for (const name of ['lower', 'upper', 'work', 'merged']) await mkdir(at(name))
    const layers = `lowerdir=${at('lower')},upperdir=${at('upper')},workdir=${at('work')}`
    // It goes on in the background, and must not hold our pipes there.
    const quiet = 'exec fuse-overlayfs -o "$1" "$2" >/dev/null 2>&1'
    await run(['sh', '-c', quiet, 'fuse-overlayfs', layers, at('merged')], command)
    try {
      await writeFile(join(at('merged'), 'file'), '')
      await access(join(at('upper'), 'file'))
      return undefined
    } finally {
      calls.unmount(at('merged'), 'detach')
    }
  } catch (error) {
    return reasonOf(error)
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}
