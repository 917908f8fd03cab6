import { openGroup } from '../../cgroups/service-group.js'
import type { Logger } from '../../../base/log/logger.js'
import { briefly } from '../status/brief-memory.js'
import { WorkspaceTree } from '../files/tree.js'
import { gitState } from '../git/git-state.js'
import type { Route } from '../../../base/http/route.js'
import type { ApiSettings } from '../settings/settings.js'
import { healthRoute, openapiRoute, statusRoute } from './about.js'
import { execRoute } from './exec.js'
import { filesRoutes } from './files.js'
import { gitRoutes } from './git.js'
import { servicesRoutes } from './services.js'
import { terminalRoute } from './terminal.js'

/** A neighbour on the same machine that needs longer is what `degraded` is for. */
const NEIGHBOUR_TIMEOUT_MS = 1_000
const GIT_TIMEOUT_MS = 3_000
const GIT_MEMORY_MS = 1_000

/** Everything the API does. */
export function routeTable(settings: ApiSettings, version: string, logger: Logger): readonly Route[] {
  const { workspace, controlSocket, controlToken, proxyApiPort, commandEnv, shell, limits } = settings
  const tree = new WorkspaceTree(workspace)
  const groups = openGroup(settings.ownGroup)
  const inGroups = groups === undefined ? {} : { groups }
  const gitEnv = { PATH: commandEnv['PATH'] ?? '', HOME: commandEnv['HOME'] ?? '/' }
  const readWorkspace = briefly(
    () => gitState({ path: workspace, env: gitEnv, timeoutMs: GIT_TIMEOUT_MS }),
    GIT_MEMORY_MS,
    () => performance.now(),
  )
  const routes: readonly Route[] = [
    healthRoute(),
    openapiRoute(() => routes, version, settings.token),
    statusRoute({
      ...(controlSocket === undefined ? {} : { controlSocket }),
      proxyApiPort,
      workspace: readWorkspace,
      timeoutMs: NEIGHBOUR_TIMEOUT_MS,
    }),
    ...servicesRoutes({
      ...(controlSocket === undefined ? {} : { controlSocket }),
      ...(controlToken === undefined ? {} : { controlToken }),
      stallMs: limits.clientTimeoutMs,
    }),
    execRoute({ tree, env: commandEnv, limits, ...inGroups }),
    terminalRoute({ tree, env: commandEnv, shell, limits, logger, ...inGroups }),
    ...filesRoutes({ tree, limits }),
    ...gitRoutes({ workspace, env: gitEnv }),
  ]
  return routes
}
