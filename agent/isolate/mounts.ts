/** Mount points the new root must show besides `/` itself. */
interface MachineMounts {
  /** Folders with a file system of their own, parents first. */
  readonly overlays: readonly string[]
  /** Files something was mounted on, as container engines do with `/etc/hosts`. */
  readonly copies: readonly string[]
}

/** Made anew inside, or of no use there; what is mounted below them is skipped too. */
const REPLACED = ['/proc', '/sys', '/dev', '/run', '/tmp', '/.data']

/** Kinds that hold no files of a system: the kernel's own interfaces and what lives in memory. */
const NOT_FILES = new Set([
  'autofs',
  'binfmt_misc',
  'bpf',
  'cgroup',
  'cgroup2',
  'configfs',
  'debugfs',
  'devpts',
  'devtmpfs',
  'efivarfs',
  'fusectl',
  'hugetlbfs',
  'mqueue',
  'nsfs',
  'proc',
  'pstore',
  'ramfs',
  'rpc_pipefs',
  'securityfs',
  'sysfs',
  'tmpfs',
  'tracefs',
])

/**
 * Reads `/proc/self/mountinfo` (proc(5)): field 5 is the mount point, the first field after ` - ` the kind.
 *
 * @param isDirectory tells folders from files; a path that is gone is neither and answers false.
 */
export function machineMounts(
  mountinfo: string,
  isDirectory: (path: string) => boolean,
  isFile: (path: string) => boolean,
): MachineMounts {
  const seen = new Set<string>()
  for (const line of mountinfo.split('\n')) {
    const [before = '', after = ''] = line.split(' - ')
    const path = unescapeOctal(before.split(' ')[4] ?? '')
    const kind = after.split(' ')[0] ?? ''
    if (path === '' || path === '/' || path.includes('\n')) continue
    // An engine's /etc/hosts may be a tmpfs file; a folder in memory holds nothing worth showing.
    if (NOT_FILES.has(kind) && !isFile(path)) continue
    if (REPLACED.some((top) => path === top || path.startsWith(`${top}/`))) continue
    seen.add(path)
  }
  const sorted = [...seen].sort((a, b) => a.split('/').length - b.split('/').length || a.localeCompare(b))
  return { overlays: sorted.filter(isDirectory), copies: sorted.filter(isFile) }
}

/** The kernel writes space, tab, newline and backslash as `\040` and the like. */
function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)))
}
