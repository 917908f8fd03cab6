import { existsSync } from 'node:fs'
import { connect } from 'node:net'
import { findOnPath } from '../settings/programs.js'

type Words = readonly [string, ...string[]]

/** The circumstances in which the agent was called. */
export interface CalledAs {
  readonly pid: number
  readonly parentPid: number
  /** The image's own program in a container. */
  readonly ofImage: boolean
  readonly controlSocket: string
}

/**
 * The command that the words of our command line are, as in `docker run IMAGE bash -l`: all of them, options too. Undefined
 * where they are for us.
 *
 * Behind `--` they always are a command. Otherwise the first must be none of our commands, and the agent must be what
 * the container runs: whoever calls it within one that runs has mistyped.
 */
export async function userWords(
  args: readonly string[],
  ours: readonly string[],
  called: CalledAs,
): Promise<Words | undefined> {
  const [first, second] = args
  if (first === '--') return nonEmpty(args.slice(1))
  if (first === 'run' && second === '--') return nonEmpty(args.slice(2))
  if (first === undefined || first.startsWith('-') || ours.includes(first)) return undefined
  return (await isEntrypoint(called)) ? nonEmpty(args) : undefined
}

/** Why the command cannot be run, told before anything is brought up for it. A path may lead into the workspace, which is not there yet. */
export function isMissing([program]: Words, path: string | undefined): boolean {
  return !program.includes('/') && path !== undefined && findOnPath(program, path) === undefined
}

/** With an init of the engine's we are its child; with the process numbers of others, a child of nobody that we see. */
async function isEntrypoint({ pid, parentPid, ofImage, controlSocket }: CalledAs): Promise<boolean> {
  if (pid === 1) return true
  return ofImage && parentPid <= 1 && !(await answers(controlSocket))
}

function answers(socketPath: string): Promise<boolean> {
  if (!existsSync(socketPath)) return Promise.resolve(false)
  return new Promise((resolve) => {
    const socket = connect(socketPath)
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}

function nonEmpty([first, ...rest]: readonly string[]): Words | undefined {
  return first === undefined ? undefined : [first, ...rest]
}
