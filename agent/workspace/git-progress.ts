import type { Logger } from '../../base/log/logger.js'

/** Long enough that a clone of minutes makes a readable log, short enough to see that it is alive. */
const EVERY_MS = 3_000
/** What git and git-lfs count; nothing else a server prints gets into the log. */
const COUNTED =
  /(Counting objects|Compressing objects|Receiving objects|Resolving deltas|Updating files|Filtering content|Downloading LFS objects): +(\d{1,3})%(?: \(\d+\/\d+\)(?:, ([\d.]+ [KMGT]?i?B))?)?/g

/**
 * Reads git's progress, which repaints its line many times a second, and logs where it stands every few seconds.
 *
 * @returns takes what git prints, in whatever pieces it comes.
 */
export function gitProgress(logger: Logger, now: () => number): (text: string) => void {
  let last = now()
  let rest = ''
  return (text) => {
    rest = (rest + text).slice(-1_000)
    if (now() - last < EVERY_MS) return
    const latest = [...rest.matchAll(COUNTED)].at(-1)
    if (latest === undefined) return
    const [, phase = '', percent = '', received] = latest
    last = now()
    rest = ''
    logger.info({ phase, percent, ...(received === undefined ? {} : { received }) }, 'workspace')
  }
}
