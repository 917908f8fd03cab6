import { resolve } from 'node:path'
import { DEFAULT_DATA_DIR } from '../../config/model/paths.js'

/** A container's first process finds the administrator's programs too. */
const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/**
 * What of the machine's environment passes into the container: Discobot's own settings, the terminal, the
 * language and the search path, and nothing else. The data dir is always `/.data` there.
 *
 * @param isPath whether a value of `DISCOBOT_WORKSPACE` names something on this machine rather than a URL.
 */
export function isolatedEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  isPath: (value: string) => boolean,
): Record<string, string> {
  const passed: Record<string, string> = {}
  for (const [name, value] of Object.entries(env)) {
    if (value === undefined || !/^(DISCOBOT_[A-Z0-9_]+|TERM|LANG|LC_[A-Z]+|PATH)$/.test(name)) continue
    passed[name] = value
  }
  for (const path of machinePaths(passed, isPath)) passed[path.name] = path.value
  passed['PATH'] = passed['PATH'] === undefined ? SYSTEM_PATH : `${passed['PATH']}:${SYSTEM_PATH}`
  passed['DISCOBOT_DATA_DIR'] = DEFAULT_DATA_DIR
  return passed
}

/** Settings that name files of this machine, made absolute: the container starts in another folder. */
export function machinePaths(
  env: Readonly<Record<string, string | undefined>>,
  isPath: (value: string) => boolean,
): { readonly name: string; readonly value: string }[] {
  const names = [
    'DISCOBOT_PROXY_CONFIG',
    'DISCOBOT_GIT_SSH_KEY',
    'DISCOBOT_GIT_KNOWN_HOSTS',
    'DISCOBOT_WORKSPACE',
  ]
  return names.flatMap((name) => {
    const value = env[name]
    return value !== undefined && value !== '' && isPath(value) ? [{ name, value: resolve(value) }] : []
  })
}
