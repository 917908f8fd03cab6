import { lstatSync, readlinkSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { DiscobotError, reasonOf } from '../../../base/errors.js'
import { ENGINE_PROXY_ADDRESS } from '../../../config/model/paths.js'
import type { Choice } from '../../docker/choice.js'
import { chooseIptables } from '../../docker/iptables.js'
import { chooseProxy } from '../../docker/proxy-flags.js'
import { ENGINE_USER, missingCapabilities, readOwnStatus } from '../../docker/plan.js'
import { ENGINE_RUN_FOLDER, ENGINE_SOCKET, rootlessCommand } from '../../docker/rootless/command.js'
import { chosenByEngine } from '../../docker/rootless/engine-info.js'
import { prepareEngineNetwork } from '../../docker/rootless/network.js'
import { rootlessSettings, ROOTLESS_DAEMON_FILE } from '../../docker/rootless/operator-settings.js'
import { innerId } from '../../docker/rootless/subordinate-ids.js'
import { digestOfTrust } from '../findings/trust-change.js'
import type { ProxyAccess } from '../../settings/environment.js'
import { readAccount } from '../../system/accounts.js'
import { ensureFile } from '../../system/atomic-file.js'
import { CommandError, type CommandOptions, type RunCommand } from '../../system/command.js'
import { inNewFolder } from '../../system/held-folder.js'
import type { Account } from '../../process/run-as.js'
import { proxyAccess, type BootFindings } from '../findings/findings.js'
import {
  READY_TIMEOUT_MS,
  describeChoices,
  engineEnvironment,
  majorVersion,
  searchPath,
  type DockerdStepDeps,
  type StartedEngine,
} from './dockerd-start.js'

/** A rootless engine cannot run here. It is never replaced by a rootful one. */
class RootlessError extends DiscobotError {
  readonly code = 'DOCKER_ROOTLESS_IMPOSSIBLE'
}

/** Docker's clients look here. */
const USUAL_SOCKET = '/run/docker.sock'
/** Never the inherited one, which may lead into a workspace: root runs what is found there. */
const SYSTEM_PATH = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' }
const IPTABLES_FOLDER = '/run/discobot/iptables-rootless'

/**
 * dockerd below rootlesskit, as an account of its own. Who may use its socket has the power of that account and of its
 * subordinate ids, and not root's.
 */
export async function startRootless(
  deps: DockerdStepDeps,
  dockerd: string,
  findings: BootFindings,
  signal: AbortSignal,
): Promise<StartedEngine> {
  const { options, run, logger, supervisor, stopGraceMs } = deps
  const command: CommandOptions = { env: { PATH: searchPath(options) }, cwd: '/', signal }
  const account = await accountOf(ENGINE_USER)
  const user = await accountOf(options.user ?? 'root')
  const { settings, file, args, leftOut } = await rootlessSettings(options.dockerdArgs)
  giveFolders([ENGINE_RUN_FOLDER, options.data.dockerRootlessDir], account)
  await ensureFile(ROOTLESS_DAEMON_FILE, file, { mode: 0o640, owner: { uid: 0, gid: account.gid } })
  await tryNamespaces(run, command)
  const outer = proxyAccess(findings)
  const network =
    outer &&
    (await prepareEngineNetwork({
      uid: account.uid,
      proxyPort: outer.port,
      run,
      command: { ...command, env: SYSTEM_PATH },
    }))
  const access: ProxyAccess | undefined =
    outer !== undefined && network?.address.works === true
      ? { ...outer, host: ENGINE_PROXY_ADDRESS }
      : undefined
  const major = await majorVersion(run, dockerd, command)
  const choices: readonly Choice[] = [
    await chooseIptables({ settings, folder: IPTABLES_FOLDER, run: inNamespaces(run), command }),
    ...(network === undefined ? [] : [network.address, network.guard]),
    chooseProxy(major, access),
    ...(leftOut.length === 0
      ? []
      : [{ flags: [], told: `without ${leftOut.join(', ')} of the operator's file` }]),
  ]
  logger.info({ choices: describeChoices(choices) }, 'starting rootless dockerd')
  const flags = settings.without([
    ['data-root', options.data.dockerRootlessDir],
    ['exec-root', '/run/docker'],
    ['pidfile', '/run/docker.pid'],
    ['host', `unix://${ENGINE_SOCKET}`],
    // Mode 0660 is dockerd's own. It knows the group by its number in there.
    ['group', String(innerId(user.gid))],
    ['log-level', 'warn'],
    ...choices.flatMap((choice) => choice.flags),
  ])
  findings.dockerdTrusts = await digestOfTrust(findings)
  supervisor.add({
    name: 'dockerd',
    command: rootlessCommand({
      account,
      ownDevices: !missingCapabilities(readOwnStatus()).includes('CAP_SYS_ADMIN'),
      ...(access === undefined ? {} : { proxy: { address: access.host, port: access.port } }),
      dockerd: [
        dockerd,
        '--rootless',
        `--config-file=${ROOTLESS_DAEMON_FILE}`,
        ...flags.map(([name, value]) => `--${name}=${value}`),
        ...args,
      ],
    }),
    env: engineEnvironment(
      options,
      { name: account.name, home: options.data.dockerRootlessDir },
      access,
      choices,
      { XDG_RUNTIME_DIR: ENGINE_RUN_FOLDER },
    ),
    cwd: '/',
    after: [],
    readiness: { kind: 'unix-http', socketPath: ENGINE_SOCKET, path: '/_ping' },
    readyTimeoutMs: READY_TIMEOUT_MS,
    // It ends with 0 where its network is gone.
    restart: 'always',
    essential: false,
    // slirp4netns must outlive the containers, and dockerd leaves everything as it is at the third signal.
    stopsItself: true,
    stopGraceMs,
  })
  // Before its start, from which on the engine sees another /run, with links to what is there now.
  const socket = linkSocket()
  await supervisor.start('dockerd', signal)
  return { socket, choices: [...(await chosenByEngine(ENGINE_SOCKET, signal)), ...choices] }
}

async function accountOf(name: string): Promise<Account> {
  const account = await readAccount('', name)
  if (account === undefined)
    throw new RootlessError(`cannot start a rootless dockerd: there is no account ${name}`)
  return account
}

/** The engine's alone: what its containers write there has ids that must not be found by others. */
function giveFolders([runFolder, dataRoot]: readonly [string, string], account: Account): void {
  inNewFolder(runFolder, (folder) => {
    folder.give(account)
    // The socket is in it, and has a group of its own.
    folder.chmod(0o711)
  })
  inNewFolder(dataRoot, (folder) => {
    folder.give(account)
    folder.chmod(0o710)
  })
}

/** The account's, with rights in there alone, as dockerd will have them. */
function inNamespaces(run: RunCommand): RunCommand {
  return (command, options) =>
    run(['unshare', '--user', '--map-root-user', '--net', '--', ...command], {
      ...options,
      // iptables legacy wants a lock, and that of the container is root's.
      env: { ...options.env, XTABLES_LOCKFILE: '/dev/null' },
      user: ENGINE_USER,
    })
}

/** Kernel, seccomp or AppArmor may keep namespaces from accounts without rights. */
async function tryNamespaces(run: RunCommand, command: CommandOptions): Promise<void> {
  try {
    await inNamespaces(run)(['true'], command)
  } catch (error) {
    command.signal.throwIfAborted()
    const said = error instanceof CommandError ? error.stderr.trim().split('\n')[0] : undefined
    throw new RootlessError(
      `cannot start a rootless dockerd: ${ENGINE_USER} may make no namespaces (${said ?? reasonOf(error)}); run the container with --privileged, or see user.max_user_namespaces and kernel.unprivileged_userns_clone`,
      { cause: error },
    )
  }
}

/**
 * The engine's account cannot write where clients look, so a link leads from there. What somebody has mounted there is
 * not ours to take away.
 *
 * @returns where the engine is to be found.
 */
function linkSocket(): string {
  const present = lstatSync(USUAL_SOCKET, { throwIfNoEntry: false })
  if (present?.isSymbolicLink() === true && readlinkSync(USUAL_SOCKET) === ENGINE_SOCKET) return USUAL_SOCKET
  try {
    // A mounted one answers EBUSY.
    if (present !== undefined) rmSync(USUAL_SOCKET)
    const fresh = `${USUAL_SOCKET}.discobot`
    rmSync(fresh, { force: true })
    symlinkSync(ENGINE_SOCKET, fresh)
    renameSync(fresh, USUAL_SOCKET)
    return USUAL_SOCKET
  } catch {
    return ENGINE_SOCKET
  }
}
