import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { composeConfig, verdictOf } from '../../../config/compose.js'
import type { Config } from '../../../config/model/config.js'
import { WORKSPACE_CONFIG } from '../../../config/layers/config-texts.js'
import { unreadable, type Problem } from '../../../config/yaml/problem.js'
import { codeOf } from '../../../base/errors.js'
import type { AgentStatus } from '../../status/status.js'
import type { AgentOptions } from '../../settings/options.js'

interface Inspection {
  /** What the files say together; of a broken operator's file the ports may not be those in force. */
  readonly config: Config
  readonly problems: readonly Problem[]
  /** The files that were looked at: absolute, and there unless `problems` says otherwise. */
  readonly read: readonly string[]
}

/**
 * Looks at the files of the proxy's configuration, as whoever asks can read them. What is in force is said by the agent
 * that runs: the last good configuration is readable by the proxy and root only.
 */
export async function inspectConfiguration(
  options: AgentOptions,
  running: AgentStatus['configuration'],
): Promise<Inspection> {
  const operatorFile = options.proxyConfig ?? running?.operatorFile
  const workspaceFile = join(options.workspace.path, WORKSPACE_CONFIG)
  const composed = await composeConfig({ dataDir: options.data.root, operatorFile, workspaceFile })
  const hasWorkspaceFile = (await reasonAgainst(workspaceFile)) !== 'ENOENT'
  const read = [
    ...(operatorFile === undefined ? [] : [operatorFile]),
    ...(hasWorkspaceFile ? [workspaceFile] : []),
  ]
  const { config, mistakes, inForce } = composed
  if (inForce === 'composed' || operatorFile === undefined) return { config, problems: mistakes, read }
  const known = running?.inForce
  if ((await reasonAgainst(operatorFile)) === 'EACCES')
    return { config, problems: ofUnseen(operatorFile, running), read }
  const verdict =
    known ?? ((await reasonAgainst(options.data.proxyConfig)) === 'EACCES' ? undefined : inForce)
  const message =
    verdict === undefined
      ? 'whether a last good configuration is in force, only root can tell; ask as root'
      : verdict === 'composed'
        ? 'the agent runs with what this file said before'
        : verdictOf(verdict, options.data.proxyConfig)
  return { config, problems: [...mistakes, { kind: 'unreadable', file: operatorFile, message }], read }
}

/** The operator's file is not for everybody's eyes, which is no mistake of it. */
function ofUnseen(file: string, running: AgentStatus['configuration']): readonly Problem[] {
  if (running === undefined) return [unreadable(file, 'this account may not; ask as root')]
  // It begins with the file's name already.
  const { trouble } = running
  return trouble === undefined
    ? []
    : [
        {
          kind: 'unreadable',
          file,
          message: trouble.startsWith(`${file}: `) ? trouble.slice(file.length + 2) : trouble,
        },
      ]
}

async function reasonAgainst(path: string): Promise<string | undefined> {
  return access(path, constants.R_OK).then(
    () => undefined,
    (error: unknown) => codeOf(error),
  )
}
