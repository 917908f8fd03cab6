import { existsSync } from 'node:fs'
import { chmod, chown, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isLoopbackHost } from '../../base/net/loopback.js'
import { readdir } from '../../base/files/files-at-once.js'
import { DiscobotError, reasonOf } from '../../base/errors.js'
import type { Environment } from '../settings/environment.js'
import { FORGE_HOST_KEYS, forgeKnownHosts } from './known-hosts.js'
import type { Credentials, GitSource } from './source.js'

/** What the operator gave us to get at a repository. */
interface GitSecrets {
  readonly token?: string
  /** The key itself, or the path of a file that holds it. */
  readonly sshKey?: string
  readonly knownHostsFile?: string
}

interface GitAccessOptions {
  readonly source: GitSource
  readonly secrets: GitSecrets
  /** Folder only root and the owner can write to; holds the secrets while git runs. */
  readonly runtimeDir: string
  /** Who runs git; absent means ourselves. */
  readonly owner?: { readonly uid: number; readonly gid: number }
  /** The account is somebody's own, with git and ssh settings worth keeping. */
  readonly ownSettings: boolean
  /** What the repository itself names is fetched: from other hosts and over other transports, none in clear text. */
  readonly submodules?: boolean
}

/** Environment for git children that may use the secrets; `release` removes every trace of them. */
interface GitAccess {
  readonly env: Environment
  /** To be masked in all that git prints. */
  readonly secrets: readonly string[]
  release(): Promise<void>
}

/** The secrets that were given cannot be used, or would be exposed by using them. */
class GitAccessError extends DiscobotError {
  readonly code = 'GIT_ACCESS_REFUSED'
}

const FOLDER_PREFIX = 'git-access-'

/**
 * Secrets reach git by files of mode 0600 that a credential helper or ssh reads: not by argv, which everybody
 * can list, nor by `.git/config`, where an extra header or a URL with userinfo would stay.
 *
 * @throws GitAccessError when a secret would travel in clear text, or a host's key is not known.
 */
export async function openGitAccess(options: GitAccessOptions): Promise<GitAccess> {
  const { source } = options
  const credentials = credentialsFor(source, options.secrets.token)
  const folder = await privateFolder(options)
  try {
    const config: [string, string][] = [
      // Programs that a repository, or what it was made of, could name.
      ['core.hooksPath', '/dev/null'],
      ['core.fsmonitor', 'false'],
      ['core.alternateRefsCommand', 'true'],
      // A maintenance process would outlive the clone and hold its pipes.
      ['gc.auto', '0'],
      ['maintenance.auto', 'false'],
    ]
    const env: Record<string, string> = {
      GIT_TERMINAL_PROMPT: '0',
      // Also after a redirect, and whatever the user's settings allow.
      GIT_ALLOW_PROTOCOL: allowedTransports(options),
      // Its files are a step of their own.
      GIT_LFS_SKIP_SMUDGE: '1',
      // The account's own files may have been written by the agent: they can name programs, and another address.
      ...(options.ownSettings ? {} : { HOME: folder.path, XDG_CONFIG_HOME: folder.path }),
    }
    if (!options.ownSettings || credentials !== undefined) config.push(['credential.helper', ''])
    if (credentials !== undefined) {
      const file = await folder.write(
        'credentials',
        `username=${credentials.username}\npassword=${credentials.password}\n`,
      )
      const helper = `!f() { test "$1" = get && cat ${shellQuote(file)}; }; f`
      config.push([`credential.${source.transport}://${source.host}.helper`, helper])
    }
    if (source.transport === 'ssh' || options.submodules === true)
      env['GIT_SSH_COMMAND'] = await sshCommand(options, folder.write)
    if (source.transport === 'file') env['GIT_CONFIG_GLOBAL'] = await trustedRepository(options, folder.write)
    Object.assign(env, numberedConfig(config))
    return { env, secrets: secretParts(credentials), release: folder.remove }
  } catch (error) {
    await folder.remove()
    throw error
  }
}

function allowedTransports({ source, submodules = false }: GitAccessOptions): string {
  const { transport } = source
  if (submodules) return [...new Set([transport, 'https', 'ssh'])].join(':')
  return transport === 'http' ? 'http:https' : transport
}

/** Removes what a killed agent left behind. */
export async function removeStaleGitAccess(runtimeDir: string): Promise<void> {
  for (const name of await readdir(runtimeDir).catch(() => [])) {
    if (name.startsWith(FOLDER_PREFIX)) await rm(join(runtimeDir, name), { recursive: true, force: true })
  }
}

/** Accepted by GitHub, GitLab and Gitea beside a token. */
const DEFAULT_USERNAME = 'x-access-token'

function credentialsFor(source: GitSource, token: string | undefined): Credentials | undefined {
  if (source.transport !== 'https' && source.transport !== 'http') return undefined
  const fromUrl = source.credentials
  if (token === undefined && fromUrl === undefined) return undefined
  const password = token ?? fromUrl?.password ?? ''
  const username = fromUrl?.username ?? ''
  // `https://TOKEN@host` is how forges write a token without a name.
  const chosen =
    password === ''
      ? { username: DEFAULT_USERNAME, password: username }
      : { username: username || DEFAULT_USERNAME, password }
  if (/[\r\n\0]/.test(chosen.username + chosen.password)) {
    throw new GitAccessError('cannot use DISCOBOT_GIT_TOKEN: it holds a line break; want the token alone')
  }
  if (source.transport === 'http' && !isLoopbackHost(source.host.replace(/:\d+$/, ''))) {
    throw new GitAccessError(
      `cannot send the git token to ${source.host}: http is not encrypted; use https:// in DISCOBOT_WORKSPACE`,
    )
  }
  return chosen
}

/** The name may be the token itself. */
function secretParts(credentials: Credentials | undefined): readonly string[] {
  if (credentials === undefined) return []
  const { username, password } = credentials
  return [password, ...(username === DEFAULT_USERNAME ? [] : [username])].filter((part) => part !== '')
}

type WriteSecret = (name: string, content: string) => Promise<string>

async function sshCommand(options: GitAccessOptions, write: WriteSecret): Promise<string> {
  const { secrets } = options
  const words = ['ssh', '-o', 'BatchMode=yes', ...(options.ownSettings ? [] : ['-F', systemSshConfig()])]
  if (secrets.sshKey === undefined && secrets.knownHostsFile === undefined && options.ownSettings)
    return words.join(' ')
  words.push(
    '-o',
    'StrictHostKeyChecking=yes',
    '-o',
    shellQuote(`UserKnownHostsFile="${await knownHosts(options, write)}"`),
  )
  if (secrets.sshKey !== undefined) {
    const key = await write('key', await privateKey(secrets.sshKey))
    words.push('-o', 'IdentitiesOnly=yes', '-o', 'IdentityAgent=none', '-i', shellQuote(key))
  }
  return words.join(' ')
}

/** Not `~/.ssh/config`: ssh finds that by the account, wherever HOME leads. */
function systemSshConfig(): string {
  return existsSync(SSH_CONFIG) ? SSH_CONFIG : 'none'
}

const SSH_CONFIG = '/etc/ssh/ssh_config'

async function knownHosts(
  { secrets, source, submodules = false }: GitAccessOptions,
  write: WriteSecret,
): Promise<string> {
  if (secrets.knownHostsFile !== undefined) {
    try {
      return await write('known_hosts', forgeKnownHosts() + (await readFile(secrets.knownHostsFile, 'utf8')))
    } catch (error) {
      throw new GitAccessError(`cannot read DISCOBOT_GIT_KNOWN_HOSTS: ${reasonOf(error)}`, { cause: error })
    }
  }
  // ssh itself refuses those of a submodule's host that are not among them.
  if (!submodules && FORGE_HOST_KEYS[source.host] === undefined) {
    throw new GitAccessError(
      `cannot check the host key of ${source.host}: it is none of ${Object.keys(FORGE_HOST_KEYS).join(', ')}; ` +
        'name a known_hosts file that holds it in DISCOBOT_GIT_KNOWN_HOSTS',
    )
  }
  return write('known_hosts', forgeKnownHosts())
}

async function privateKey(given: string): Promise<string> {
  try {
    const text = given.startsWith('/') ? await readFile(given, 'utf8') : given
    // Many an environment cannot hold line breaks; ssh refuses a key without the last one.
    const lines = text.includes('\n') ? text : text.replaceAll(String.raw`\n`, '\n')
    if (/^-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(lines.trimStart())) return `${lines.trim()}\n`
  } catch (error) {
    throw new GitAccessError(`cannot read the file that DISCOBOT_GIT_SSH_KEY names: ${reasonOf(error)}`, {
      cause: error,
    })
  }
  throw new GitAccessError(
    'cannot use DISCOBOT_GIT_SSH_KEY: want a private key in PEM or OpenSSH format, or its file',
  )
}

/**
 * The server side of a local clone refuses a repository of somebody else's, and takes exceptions from the
 * global configuration only, not from the environment. The operator named this very path; its submodules are at
 * others, which the account must be able to read anyhow.
 */
async function trustedRepository(
  { source, submodules = false }: GitAccessOptions,
  write: WriteSecret,
): Promise<string> {
  const path = decodeURIComponent(new URL(source.url).pathname).replace(/\/+$/, '')
  const quoted = (submodules ? ['*'] : [path, `${path}/.git`]).map(
    (entry) => `\tdirectory = "${entry.replace(/[\\"]/g, String.raw`\$&`)}"\n`,
  )
  return write('gitconfig', `[safe]\n${quoted.join('')}`)
}

/** `-c` for children without showing it in argv. */
function numberedConfig(config: readonly (readonly [string, string])[]): Record<string, string> {
  const env: Record<string, string> = { GIT_CONFIG_COUNT: String(config.length) }
  config.forEach(([key, value], index) => {
    env[`GIT_CONFIG_KEY_${index}`] = key
    env[`GIT_CONFIG_VALUE_${index}`] = value
  })
  return env
}

async function privateFolder({
  runtimeDir,
  owner,
}: GitAccessOptions): Promise<{ readonly path: string; write: WriteSecret; remove(): Promise<void> }> {
  const folder = await mkdtemp(join(runtimeDir, FOLDER_PREFIX))
  // Ours, so that the account can put no link where the next file goes; it only has to pass through.
  if (owner !== undefined) await chmod(folder, 0o711)
  return {
    path: folder,
    async write(name, content) {
      const path = join(folder, name)
      await writeFile(path, content, { mode: 0o600, flag: 'wx' })
      if (owner !== undefined) await chown(path, owner.uid, owner.gid)
      return path
    },
    remove: () => rm(folder, { recursive: true, force: true }),
  }
}

function shellQuote(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`
}
