import { createHash } from 'node:crypto'
import { dirname, join, resolve } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { ConfigError, unreadable } from '../yaml/problem.js'
import { readTextFile, type TextFile } from '../../base/files/text-file.js'

/** A blocklist of some 40,000 hosts. Parsing that takes about a second. */
export const MAX_CONFIG_BYTES = 1024 * 1024

/** The text that means the default; an empty one may be what is left of another. */
export const SAYS_NOTHING = '{}'

/** Where a workspace keeps its file, below its root. */
export const WORKSPACE_CONFIG = join('.discobot', 'proxy', 'config.yaml')

/** Between emptying a file and writing it; an editor needs milliseconds. */
const SAVE_MS = 100

/** Parsing blocks process 1, and the text may be made to: the worst found takes a second at this size. */
const MAX_WORKSPACE_BYTES = 128 * 1024

export interface ConfigFiles {
  /** Named by the operator; that it is absent is an error then. */
  readonly operatorFile?: string | undefined
  /** May be absent. */
  readonly workspaceFile?: string | undefined
}

/** The files that a configuration is composed of, as they were found. */
export interface ConfigTexts {
  readonly operator?: FoundFile
  readonly workspace?: FoundFile
}

export interface FoundFile {
  /** Absolute. */
  readonly file: string
  readonly found: TextFile
}

export async function readConfigTexts({ operatorFile, workspaceFile }: ConfigFiles): Promise<ConfigTexts> {
  return {
    ...(operatorFile !== undefined && { operator: await readOperator(resolve(operatorFile)) }),
    ...(workspaceFile !== undefined && { workspace: await readWorkspace(resolve(workspaceFile)) }),
  }
}

/**
 * A digest of texts, and of whatever else goes into what is made of them; undefined where one of them cannot be read,
 * which it may be the next time.
 */
export function digestOfTexts(
  { operator, workspace }: ConfigTexts,
  others: readonly unknown[],
): string | undefined {
  if ([operator, workspace].some((one) => one?.found.kind === 'unreadable')) return undefined
  const parts = JSON.stringify([operator ?? null, workspace ?? null, ...others])
  return createHash('sha256').update(parts).digest('hex')
}

/** The text of a configuration file. @throws ConfigError when it is absent or unreadable. */
export async function readConfigText(path: string): Promise<string> {
  const file = resolve(path)
  const read = await readSaved(file)
  if (read.kind === 'text') return read.text
  const reason = read.kind === 'absent' ? 'it does not exist' : read.reason
  throw new ConfigError(file, [unreadable(file, reason)])
}

async function readOperator(file: string): Promise<FoundFile> {
  return { file, found: await readSaved(file) }
}

/** Many editors save by emptying the file and writing it; one that is empty is read again after that moment. */
async function readSaved(file: string): Promise<TextFile> {
  const read = await readTextFile(file, { maxBytes: MAX_CONFIG_BYTES })
  if (read.kind !== 'text' || read.text !== '') return read
  await setTimeout(SAVE_MS)
  return readTextFile(file, { maxBytes: MAX_CONFIG_BYTES })
}

async function readWorkspace(file: string): Promise<FoundFile> {
  // A link could have us read, and quote in a message, a file that the workspace's author may not see.
  const within = file.endsWith(`/${WORKSPACE_CONFIG}`)
    ? file.slice(0, -WORKSPACE_CONFIG.length - 1)
    : dirname(file)
  return { file, found: await readTextFile(file, { maxBytes: MAX_WORKSPACE_BYTES, within: within || '/' }) }
}
