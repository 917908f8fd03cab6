import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { mkdir } from '../../../base/files/files-at-once.js'
import { codeOf, DiscobotError, reasonOf } from '../../../base/errors.js'
import { fetchStatus } from '../../control/client.js'
import { ENGINE_USER } from '../../docker/plan.js'
import { giveSubordinateIds } from '../../docker/rootless/subordinate-ids.js'
import type { AgentOptions } from '../../settings/options.js'
import type { Account } from '../../process/run-as.js'
import { inNewFolder, type HeldFolder } from '../../system/held-folder.js'
import { isUidTaken, readAccount, readGroup } from '../../system/accounts.js'
import { accountTools } from '../../system/account-tools.js'
import { openBase } from '../../overlay/base-home.js'
import { planHome } from '../../overlay/home-plan.js'
import type { RunCommand } from '../../system/command.js'
import type { BootFindings } from '../findings/findings.js'
import type { BootStep } from '../../status/step.js'
import { PROXY_USER } from './proxy.js'

const PREFERRED_UID = 1000
const TIMEOUT_MS = 60_000

interface HomeStepDeps {
  readonly options: AgentOptions
  /** A rootful dockerd may run: its group must exist and the user be in it. */
  readonly docker: boolean
  /** A rootless dockerd may run: its account must exist and have ids of its own. */
  readonly rootless: boolean
  readonly run: RunCommand
}

/** An account or a folder that everything else stands on cannot be had. */
class HomeError extends DiscobotError {
  readonly code = 'HOME_UNUSABLE'
}

/** Accounts, home and data dir. Fatal: without a place to keep anything no later step can do its work. */
export function homeStep(deps: HomeStepDeps, findings: BootFindings): BootStep {
  return {
    name: 'home',
    needs: [],
    timeoutMs: TIMEOUT_MS,
    onFailure: 'fatal',
    remedy: 'name a folder that can be written to in DISCOBOT_DATA_DIR, and see DISCOBOT_HOME',
    run: async (signal) => {
      const { data, workspace } = deps.options
      await refuseSecondAgent(deps.options.controlSocket)
      await mkdir(data.root, { recursive: true })
      const made =
        deps.options.user === undefined ? undefined : await prepareAccounts(deps, deps.options.user, signal)
      inNewFolder(dirname(workspace.path), () => undefined)
      const trouble = await prepareDataDir(deps.options)
      if (deps.options.mode === 'container') await prepareBase(deps, findings, signal)
      return trouble ?? made
    },
  }
}

/** Two agents on one data dir would write each other's configuration and cache. */
async function refuseSecondAgent(socket: string): Promise<void> {
  // Without a socket there is nobody to ask, and to ask takes 10 ms the first time.
  const other = existsSync(socket) ? await fetchStatus(socket).catch(() => undefined) : undefined
  if (other === undefined) return
  throw new HomeError(
    `cannot start: an agent with pid ${other.pid} already answers on ${socket}; stop it, or name another DISCOBOT_DATA_DIR`,
  )
}

async function prepareAccounts(
  { options, docker, rootless, run }: HomeStepDeps,
  user: string,
  signal: AbortSignal,
): Promise<string> {
  const add = accountTools(run, signal, toolPath(options))
  const created: string[] = []
  if ((await readAccount('', PROXY_USER)) === undefined) {
    await add.systemAccount(PROXY_USER)
    created.push(PROXY_USER)
  }
  if ((await readAccount('', user)) === undefined) {
    await add.personalAccount(
      user,
      options.home,
      (await isUidTaken('', PREFERRED_UID)) ? undefined : PREFERRED_UID,
    )
    created.push(user)
  }
  if (docker && user !== 'root') {
    const group = await readGroup('', 'docker')
    if (group === undefined) await add.group('docker')
    if (group?.members.includes(user) !== true) await add.member(user, 'docker')
  }
  const account = await requireAccount(user)
  if (rootless) {
    if ((await readAccount('', ENGINE_USER)) === undefined) {
      await add.systemAccount(ENGINE_USER)
      created.push(ENGINE_USER)
    }
    await giveSubordinateIds(ENGINE_USER, account)
  }
  giveFolder(options.home, account)
  return created.length === 0 ? user : `created ${created.join(', ')}`
}

/** @throws HomeError when the account is still not there. */
async function requireAccount(name: string): Promise<Account> {
  const account = await readAccount('', name)
  if (account === undefined)
    throw new HomeError(`cannot use account ${JSON.stringify(name)}: it is not in /etc/passwd`)
  return account
}

/** Where the workspace goes: into the base below a session's overlay, or into the home itself. */
async function prepareBase(
  { options, run }: HomeStepDeps,
  findings: BootFindings,
  signal: AbortSignal,
): Promise<void> {
  const { home, data, overlay, user = 'root' } = options
  const plan = await planHome({ wanted: overlay, home, homeDir: data.homeDir })
  if (plan.kind === 'layered') {
    const account = await requireAccount(user)
    const command = { env: { PATH: toolPath(options) }, cwd: '/', signal }
    await openBase({ home, base: plan.base, account, run, command })
  }
  findings.home = plan
}

/**
 * The proxy's folders belong to the account it runs as. `certs` is closed to everybody else: whoever reads the
 * key can pose as any host to this container. The folder around them is root's: whose it is can put others in their
 * place.
 *
 * @returns what to say of it.
 */
async function prepareDataDir(options: AgentOptions): Promise<string | undefined> {
  const { root, proxyDir, certDir, cacheDir } = options.data
  if (options.mode === 'plain') {
    await mkdir(cacheDir, { recursive: true })
    await mkdir(certDir, { recursive: true, mode: 0o700 })
    return undefined
  }
  const trouble = inNewFolder(root, makeOurs)
  await mkdir('/run/discobot', { recursive: true })
  const proxy = await requireAccount(PROXY_USER)
  const former = useFolder(proxyDir, (folder, fresh) => (fresh ? proxy.uid : folder.stat().uid))
  if (former !== proxy.uid) {
    // A data dir from elsewhere, where the account had another number.
    useFolder(proxyDir, (folder) => folder.giveAll(former, proxy))
  }
  giveFolder(proxyDir, proxy)
  for (const path of [certDir, cacheDir]) {
    useFolder(path, (folder) => {
      folder.give(proxy)
      folder.chmod(0o700)
    })
  }
  return trouble
}

/** @returns what cannot be had of it. */
function makeOurs(folder: HeldFolder): string | undefined {
  const { uid, mode } = folder.stat()
  // A mounted folder may be closed to the accounts that must pass through, or open to those that must not write.
  try {
    if (uid !== 0) folder.give({ uid: 0, gid: 0 })
    folder.chmod((mode & 0o7755) | 0o011)
    return undefined
  } catch (error) {
    return `others can change ${folder.path}: ${reasonOf(error)}`
  }
}

/** The folder itself, not what is in it: through an overlay 50,000 files cost 12 s. */
function giveFolder(path: string, account: Account): void {
  useFolder(path, (folder) => folder.give(account))
}

/** @throws HomeError */
function useFolder<T>(path: string, use: (folder: HeldFolder, fresh: boolean) => T): T {
  try {
    return inNewFolder(path, use)
  } catch (error) {
    if (codeOf(error) !== 'ENOTDIR') throw error
    throw new HomeError(`cannot use ${path}: it is not a folder; remove it`, { cause: error })
  }
}

/** The administrator's programs may not be on the path that was inherited. */
function toolPath({ inherited }: AgentOptions): string {
  const system = '/usr/sbin:/usr/bin:/sbin:/bin'
  const path = inherited['PATH']
  return path === undefined ? system : `${path}:${system}`
}
