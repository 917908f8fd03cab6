import { nearestName } from '../../base/nearest-name.js'

/** All that anything of ours reads, besides those with the prefix of secrets (docs/environment.md). */
export const KNOWN_VARIABLES: readonly string[] = [
  'DISCOBOT_AGENT_COMMAND',
  'DISCOBOT_AGENT_HOST',
  'DISCOBOT_AGENT_PORT',
  'DISCOBOT_AGENT_SOCKET',
  'DISCOBOT_API_CLIENT_TIMEOUT',
  'DISCOBOT_API_MAX_COMMANDS',
  'DISCOBOT_API_MAX_TERMINALS',
  'DISCOBOT_API_MAX_UPLOAD',
  'DISCOBOT_API_TERMINAL_IDLE',
  'DISCOBOT_API_TOKEN',
  'DISCOBOT_API_TOKEN_SHA256',
  'DISCOBOT_CONTAINER_STOP_TIMEOUT',
  'DISCOBOT_DATA_DIR',
  'DISCOBOT_DOCKER',
  'DISCOBOT_DOCKERD_ARGS',
  'DISCOBOT_DOCKER_CLIENT_PROXY',
  'DISCOBOT_EGRESS',
  'DISCOBOT_GIT_KNOWN_HOSTS',
  'DISCOBOT_GIT_SSH_KEY',
  'DISCOBOT_GIT_TOKEN',
  'DISCOBOT_HOME',
  'DISCOBOT_LOG_FILES',
  'DISCOBOT_LOG_FILE_SIZE',
  'DISCOBOT_LOG_FORMAT',
  'DISCOBOT_LOG_LEVEL',
  'DISCOBOT_MODE',
  'DISCOBOT_OVERLAY',
  'DISCOBOT_PROXY',
  'DISCOBOT_PROXY_API_PORT',
  'DISCOBOT_PROXY_CONFIG',
  'DISCOBOT_SERVICE',
  'DISCOBOT_SESSION_ID',
  'DISCOBOT_SHUTDOWN_ORDER',
  'DISCOBOT_STOP_TIMEOUT',
  'DISCOBOT_USER',
  'DISCOBOT_WORKSPACE',
  'DISCOBOT_WORKSPACE_CLONE',
  'DISCOBOT_WORKSPACE_FETCH',
  'DISCOBOT_WORKSPACE_LFS',
  'DISCOBOT_WORKSPACE_PATH',
  'DISCOBOT_WORKSPACE_REF',
  'DISCOBOT_WORKSPACE_SUBMODULES',
]

const PREFIX = 'DISCOBOT_'

/**
 * A line for each variable that is nearly one of ours, and has no effect as it is. Others with our prefix may be
 * anybody's: the secret of a configuration, or a program's in the workspace.
 */
export function misspeltVariables(env: Readonly<Record<string, string | undefined>>): string[] {
  return Object.keys(env).flatMap((name) => {
    if (!name.startsWith(PREFIX) || KNOWN_VARIABLES.includes(name)) return []
    if (name.startsWith('DISCOBOT_SECRET_')) return []
    // Without the prefix: alike in it are all of them.
    const near = nearestName(
      name.slice(PREFIX.length),
      KNOWN_VARIABLES.map((one) => one.slice(PREFIX.length)),
    )
    return near === undefined ? [] : [`${name}: there is no such variable; did you mean ${PREFIX}${near}?`]
  })
}
