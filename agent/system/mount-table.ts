import { isWithin } from '../../config/model/paths.js'

interface Mount {
  readonly target: string
  readonly type: string
  readonly source: string
}

/** Parses `/proc/self/mountinfo` (proc_pid_mountinfo(5)); of several at one place the last is the one seen. */
export function parseMountTable(mountinfo: string): Mount[] {
  return mountinfo.split('\n').flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ')
    const target = before.split(' ')[4]
    const [type = '', source = ''] = after.split(' ')
    return target === undefined ? [] : [{ target: unescape(target), type, source: unescape(source) }]
  })
}

/** What is mounted on `folder` or below it, in the order it was mounted. */
export function mountsWithin(mounts: readonly Mount[], folder: string): Mount[] {
  return mounts.filter(({ target }) => isWithin(target, folder))
}

/** The kernel writes space, tab, newline, `#` and backslash as `\040` and the like, and all else as it is. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)))
}
