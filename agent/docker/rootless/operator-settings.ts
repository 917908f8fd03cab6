import { readDaemonFile, settingsOf, type DaemonSettings } from '../daemon-settings.js'

/** The engine finds here what is left of the operator's file. */
export const ROOTLESS_DAEMON_FILE = '/run/discobot/dockerd-rootless.json'

/**
 * Of the operator's file these are for an engine that is root: its folders, sockets and groups, which two engines must
 * not share, and what an account without rights cannot do.
 */
const ROOTFUL_ONLY: readonly string[] = [
  ...['data-root', 'graph', 'exec-root', 'pidfile', 'hosts', 'group', 'tls', 'tlsverify', 'tlscacert'],
  ...['tlscert', 'tlskey', 'userns-remap', 'containerd', 'cgroup-parent', 'exec-opts', 'default-ulimits'],
  ...['storage-driver', 'storage-opts', 'bridge'],
]

interface RootlessSettings {
  readonly settings: DaemonSettings
  /** For the engine's own file. */
  readonly file: string
  readonly args: readonly string[]
  /** Names in the operator's file that do not count. */
  readonly leftOut: readonly string[]
}

/** @throws DaemonFileError when the operator's file is there and is no JSON object. */
export async function rootlessSettings(args: readonly string[], root = ''): Promise<RootlessSettings> {
  const given = withoutConfigFile(args)
  const file = await readDaemonFile(args, root)
  const leftOut = Object.keys(file).filter((name) => ROOTFUL_ONLY.includes(name))
  const kept = Object.fromEntries(Object.entries(file).filter(([name]) => !leftOut.includes(name)))
  return { settings: settingsOf(given, kept), file: `${JSON.stringify(kept)}\n`, args: given, leftOut }
}

/** The engine has a file already. */
function withoutConfigFile(args: readonly string[]): readonly string[] {
  return args.filter((word, index) => {
    if (word === '--config-file' || word.startsWith('--config-file=')) return false
    return args[index - 1] !== '--config-file'
  })
}
