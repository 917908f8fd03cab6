import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { composeConfig } from '../config/compose.js'
import { readConfigText, WORKSPACE_CONFIG } from '../config/config-texts.js'
import { loadConfigText } from '../config/load.js'
import { ConfigError, formatProblem, type Problem } from '../config/problem.js'
import { readYaml } from '../config/yaml-document.js'
import { BUILT_IN, IMAGE_FOLDER } from './boot/steps/user-services.js'
import type { CommandDeps } from './control/commands.js'
import { printable } from './control/printable.js'
import type { AgentOptions } from './options.js'
import { loadServices } from './services/file-load.js'
import { parseServices } from './services/file-format.js'
import { findAccount } from './services/run-as.js'

/**
 * Says what is wrong with one file, or with all that the agent would read, as `file:line:col: message`. 1 when
 * anything is. Nothing is changed, and no agent is needed.
 */
export async function checkConfig(
  { print, json }: Pick<CommandDeps, 'print' | 'json'>,
  options: AgentOptions,
  file?: string,
): Promise<number> {
  const problems =
    file === undefined
      ? [...(await proxyProblems(options)), ...(await serviceProblems(options))]
      : await fileProblems(file, options)
  const lines = problems.map((problem) => printable(formatProblem(problem)))
  if (json) await print(`${JSON.stringify(problems, undefined, 2)}\n`)
  else await print(lines.length === 0 ? 'no mistakes\n' : `${lines.join('\n')}\n`)
  return problems.length === 0 ? 0 : 1
}

async function proxyProblems(options: AgentOptions): Promise<readonly Problem[]> {
  const { problems } = await composeConfig({
    dataDir: options.data.root,
    operatorFile: options.proxyConfig,
    workspaceFile: join(options.workspace.path, WORKSPACE_CONFIG),
  })
  return problems
}

async function serviceProblems({ workspace, user, mode }: AgentOptions): Promise<readonly Problem[]> {
  // Outside a container neither is read.
  if (mode === 'plain') return []
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
  return problems
}

/** What kind of file it is shows in what it says: only one that describes services has the key `services`. */
async function fileProblems(file: string, { data }: AgentOptions): Promise<readonly Problem[]> {
  try {
    const text = await readConfigText(file)
    const { value } = readYaml(text)
    if (typeof value === 'object' && value !== null && 'services' in value)
      return parseServices(text).complaints.map((complaint) => ({ kind: 'invalid', file, ...complaint }))
    loadConfigText(text, file, { dataDir: data.root })
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}
