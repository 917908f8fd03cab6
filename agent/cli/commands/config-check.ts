import { access, readdir, readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { readConfigText } from '../../../config/layers/config-texts.js'
import { loadConfigText } from '../../../config/layers/load.js'
import { ConfigError, formatProblem, type Problem } from '../../../config/yaml/problem.js'
import { readYaml } from '../../../config/yaml/yaml-document.js'
import { BUILT_IN, IMAGE_FOLDER } from '../../boot/steps/user-services.js'
import { inspectConfiguration } from './config-inspection.js'
import { fetchStatus } from '../../control/client.js'
import type { CommandDeps } from './commands.js'
import { printable } from '../../status/printable.js'
import type { AgentOptions } from '../../settings/options.js'
import { loadServices, WORKSPACE_FILE } from '../../services/file-load.js'
import { parseServices } from '../../services/file-format.js'
import { findAccount } from '../../process/run-as.js'

/**
 * Says what is wrong with one file, or with all that the agent would read, as `file:line:col: message`. 1 when
 * anything is. Nothing is changed, and no agent is needed.
 */
export async function checkConfig(
  { print, json, socketPath }: Pick<CommandDeps, 'print' | 'json' | 'socketPath'>,
  options: AgentOptions,
  file?: string,
): Promise<number> {
  const { problems, read } =
    file === undefined ? await everything(options, socketPath) : await oneFile(file, options)
  if (json) await print(`${JSON.stringify(problems, undefined, 2)}\n`)
  else await print(`${[...problems.map(formatProblem), summary(problems, read)].map(printable).join('\n')}\n`)
  return problems.length === 0 ? 0 : 1
}

interface Checked {
  readonly problems: readonly Problem[]
  readonly read: readonly string[]
}

function summary({ length }: readonly Problem[], read: readonly string[]): string {
  const files = read.length === 0 ? 'the shipped default; no other file is named or there' : read.join(', ')
  return length === 0 ? `no mistakes in ${files}` : `looked at ${files}`
}

async function everything(options: AgentOptions, socketPath: string): Promise<Checked> {
  const status = await fetchStatus(socketPath).catch(() => undefined)
  const proxy = await inspectConfiguration(options, status?.configuration)
  const services = await servicesChecked(options)
  return { problems: [...proxy.problems, ...services.problems], read: [...proxy.read, ...services.read] }
}

async function servicesChecked({ workspace, user, mode }: AgentOptions): Promise<Checked> {
  // Outside a container neither is read.
  if (mode === 'plain') return { problems: [], read: [] }
  const workspaceUser = user ?? 'root'
  const passwd = await readFile('/etc/passwd', 'utf8').catch(() => '')
  const { problems } = await loadServices({
    imageFolder: IMAGE_FOLDER,
    workspace: workspace.path,
    workspaceUser,
    workspaceUserIsRoot: findAccount(passwd, workspaceUser)?.uid === 0,
    builtIn: BUILT_IN,
    running: BUILT_IN,
  })
  const names = await readdir(IMAGE_FOLDER).catch(() => [])
  const image = names.filter((name) => name.endsWith('.yaml')).map((name) => join(IMAGE_FOLDER, name))
  const ofWorkspace = join(workspace.path, WORKSPACE_FILE)
  const isThere = await access(ofWorkspace).then(
    () => true,
    () => false,
  )
  return { problems, read: [...image, ...(isThere ? [ofWorkspace] : [])] }
}

async function oneFile(file: string, { data }: AgentOptions): Promise<Checked> {
  return { problems: await fileProblems(file, data.root), read: [resolve(file)] }
}

/** What kind of file it is shows in what it says: only one that describes services has the key `services`. */
async function fileProblems(file: string, dataDir: string): Promise<readonly Problem[]> {
  try {
    const text = await readConfigText(file)
    const { value } = readYaml(text)
    if (typeof value === 'object' && value !== null && 'services' in value)
      return parseServices(text).complaints.map((complaint) => ({ kind: 'invalid', file, ...complaint }))
    loadConfigText(text, file, { dataDir })
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}
