import { existsSync, readlinkSync } from 'node:fs'

/** Where an image has its programs; a checkout is somewhere else. */
const IMAGE_FOLDER = '/opt/discobot/'
/** Left in containers by Docker and by Podman. */
const MARKS: readonly string[] = ['/.dockerenv', '/run/.containerenv']
/** PROC_PID_INIT_INO, include/linux/proc_ns.h: the machine's own process numbers. */
const MACHINES_PIDS = 'pid:[4026531836]'

/** What a program can see of where it is; tests hand in their own. */
interface Surroundings {
  exists(path: string): boolean
  /** Text of the link; undefined where it cannot be read. */
  link(path: string): string | undefined
}

const system: Surroundings = {
  exists: existsSync,
  link: (path) => {
    try {
      return readlinkSync(path)
    } catch {
      return undefined
    }
  },
}

/**
 * Whether we are what an image was made to run, and in a container. Process 1 we need not be then: `docker run --init`,
 * Compose's `init: true`, ECS and pods that share their process numbers put somebody else there.
 *
 * @param program path of our own program.
 */
export function isImageInContainer(program: string, { exists, link }: Surroundings = system): boolean {
  if (!program.startsWith(IMAGE_FOLDER)) return false
  const pids = link('/proc/self/ns/pid')
  return MARKS.some((path) => exists(path)) || (pids !== undefined && pids !== MACHINES_PIDS)
}
