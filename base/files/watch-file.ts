import { watch, type FSWatcher } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { unattended } from '../process/entry.js'
import type { Logger } from '../log/logger.js'

/**
 * inotify says nothing of a file reached through a link that is turned, nor on many network file systems, and its
 * watches may be used up. Looking twice a second still keeps the promise of a second.
 */
const POLL_MS = 500
/** Editors save in several steps: truncate and write, or write aside and rename. */
const QUIET_MS = 100
/** An empty file means "everything by default", and is what a save begins with. */
const QUIET_EMPTY_MS = 400
/** Somebody who saves all the time is followed at this pace. */
const PATIENCE_MS = 600

export interface FileWatch {
  close(): void
}

/** Calls `onChange` when the file at `path` may have another content, and at the start. */
export function watchFile(
  path: string,
  onChange: () => Promise<void>,
  logger: Logger,
  pollMs = POLL_MS,
): FileWatch {
  let known: string | undefined
  let waiting: { readonly since: number; readonly state: string; readonly timer: NodeJS.Timeout } | undefined
  let looks = 0
  let closed = false

  const look = (): void => unattended(logger, 'watch of the configuration file', lookOnce())

  const lookOnce = async (): Promise<void> => {
    looks += 1
    const mine = looks
    const state = await stateOf(path)
    // A later look knows better.
    if (closed || mine !== looks || state.text === (waiting?.state ?? known)) return
    const now = performance.now()
    const since = waiting?.since ?? now
    clearTimeout(waiting?.timer)
    const patience = Math.max(0, since + PATIENCE_MS - now)
    const quiet = Math.min(state.empty ? QUIET_EMPTY_MS : QUIET_MS, patience)
    waiting = { since, state: state.text, timer: setTimeout(tell, quiet) }
  }

  const tell = (): void => unattended(logger, 'reload', report())

  const report = async (): Promise<void> => {
    const mine = waiting
    if (mine === undefined) return
    const { since, state } = mine
    const overdue = performance.now() - since >= PATIENCE_MS
    if (!overdue && (await stateOf(path)).text !== state) return lookOnce()
    if (closed || waiting !== mine) return
    waiting = undefined
    // Time stamps are as coarse as the kernel's tick: after a report in the midst of saves, look once more.
    known = overdue ? undefined : state
    await onChange()
  }

  const poll = setInterval(look, pollMs).unref()
  const watcher = watchFolder(dirname(path), (name) => {
    if (name === null || name === basename(path)) look()
  })
  look()
  return {
    close() {
      closed = true
      clearInterval(poll)
      clearTimeout(waiting?.timer)
      watcher?.close()
    },
  }
}

/** The folder, not the file: what is renamed over the file is another file. Polling does without. */
function watchFolder(folder: string, onEvent: (name: string | null) => void): FSWatcher | undefined {
  try {
    const watcher = watch(folder, { persistent: false }, (_event, name) => onEvent(name))
    watcher.on('error', () => watcher.close())
    return watcher
  } catch {
    return undefined
  }
}

async function stateOf(path: string): Promise<{ readonly text: string; readonly empty: boolean }> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true })
    return { text: [dev, ino, size, mtimeNs, ctimeNs].join(':'), empty: size === 0n }
  } catch {
    // Absent for a moment in the midst of a save, as a rule.
    return { text: 'absent', empty: true }
  }
}
