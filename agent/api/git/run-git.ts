import { existsSync } from 'node:fs'
import { realpath } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { DiscobotError, reasonOf } from '../../../base/errors.js'
import { startCommand, type Command } from '../command/command.js'

/** git cannot be asked about the workspace. */
export class GitFailedError extends DiscobotError {
  readonly code = 'API_GIT_FAILED'

  constructor(
    message: string,
    /** `plain`: there is no repository; `late`: it took too long. */
    readonly kind: 'failed' | 'late' | 'plain',
    options?: ErrorOptions,
  ) {
    super(message, options)
  }
}

export interface GitOptions {
  /** The workspace, which is the root of its repository if it is one. */
  readonly path: string
  /** PATH and HOME are what git needs. */
  readonly env: Readonly<Record<string, string>>
  /** git is killed after this; a cold status of a large tree on a slow disk takes seconds. */
  readonly timeoutMs: number
  /** The rest of what it prints is not read. */
  readonly maxBytes: number
}

export interface GitOutput {
  readonly output: Buffer
  readonly truncated: boolean
}

const MAX_COMPLAINT_LENGTH = 1000
/** A repository with more filters than this has not been made for work. */
const MAX_CONFIG_BYTES = 1024 * 1024

/**
 * Settings that run no program, take no lock that a command of the user's could meet, ask nobody, fetch nothing, and
 * stay within the workspace, whatever the repository's own say.
 */
const HARMLESS: Readonly<Record<string, string>> = {
  'core.fsmonitor': 'false',
  'core.hooksPath': '/dev/null',
  'core.pager': 'cat',
  'submodule.recurse': 'false',
}

/**
 * Runs git in the workspace, whose repository somebody else may have made: nothing that its configuration names is
 * run, the clean filters of its attributes included. Those of the user's and the system's configuration are.
 *
 * @throws GitFailedError
 */
export async function runGit(options: GitOptions, args: readonly string[]): Promise<GitOutput> {
  const harmless = { ...HARMLESS, ...(await withoutFilters(options)) }
  return await runOnce(options, harmless, args)
}

/** An empty program is none (gitattributes(5)); and a filter that is not there must not be required. */
async function withoutFilters(options: GitOptions): Promise<Record<string, string>> {
  const list = ['config', '--list', '--show-scope', '--name-only', '-z']
  const { output, truncated } = await runOnce({ ...options, maxBytes: MAX_CONFIG_BYTES }, HARMLESS, list)
  if (truncated) throw new GitFailedError('the repository has too large a configuration', 'failed')
  const settings: Record<string, string> = {}
  const fields = output.toString().split('\0')
  for (let at = 0; at + 1 < fields.length; at += 2) {
    const [scope = '', name = ''] = [fields[at], fields[at + 1]]
    const filter = /^(filter\..+)\.(?:clean|smudge|process|required)$/s.exec(name)?.[1]
    if (filter === undefined || ['system', 'global', 'command'].includes(scope)) continue
    for (const program of ['clean', 'smudge', 'process']) settings[`${filter}.${program}`] = ''
    settings[`${filter}.required`] = 'false'
  }
  return settings
}

async function runOnce(
  { path, env, timeoutMs, maxBytes }: GitOptions,
  settings: Readonly<Record<string, string>>,
  args: readonly string[],
): Promise<GitOutput> {
  const root = await realpath(path).catch(() => path)
  // As git would find out with a process or two: it may not look further up.
  if (existsSync(root) && !existsSync(join(root, '.git')) && !existsSync(join(root, 'HEAD')))
    throw new GitFailedError('not a git repository', 'plain')
  const command = await startGit(root, env, settings, args)
  let late = false
  const timer = setTimeout(() => {
    late = true
    // What keeps it from ending is told at the end, where it is waited for.
    command.end().catch(() => undefined)
  }, timeoutMs)
  try {
    const complaint = readComplaint(command)
    const { output, truncated } = await readOutput(command, maxBytes)
    if (truncated) return { output, truncated }
    const { code, signal } = await command.ended
    if (late) throw new GitFailedError(`git did not answer within ${timeoutMs} ms`, 'late')
    if (code === 0) return { output, truncated }
    const reason = (await complaint).trim().split('\n')[0] ?? ''
    const kind = /not a git repository/.test(reason) ? 'plain' : 'failed'
    throw new GitFailedError(reason || `git ended with ${signal ?? `code ${code}`}`, kind)
  } finally {
    clearTimeout(timer)
    await command.end()
  }
}

async function startGit(
  root: string,
  env: GitOptions['env'],
  settings: Readonly<Record<string, string>>,
  args: readonly string[],
): Promise<Command> {
  // Not as arguments of `-c`, which cannot name a filter with a "=" in its name.
  const config: Record<string, string> = { GIT_CONFIG_COUNT: String(Object.keys(settings).length) }
  for (const [index, [key, value]] of Object.entries(settings).entries()) {
    config[`GIT_CONFIG_KEY_${index}`] = key
    config[`GIT_CONFIG_VALUE_${index}`] = value
  }
  try {
    return await startCommand({
      argv: ['git', '-C', root, ...args],
      cwd: '/',
      env: {
        ...env,
        LC_ALL: 'C',
        GIT_OPTIONAL_LOCKS: '0',
        GIT_TERMINAL_PROMPT: '0',
        // What a partial clone lacks is not fetched, and no transport is allowed to.
        GIT_NO_LAZY_FETCH: '1',
        GIT_ALLOW_PROTOCOL: 'none',
        GIT_LITERAL_PATHSPECS: '1',
        // Neither a repository around the workspace, nor with `core.worktree` files elsewhere.
        GIT_CEILING_DIRECTORIES: dirname(root),
        GIT_WORK_TREE: root,
        ...config,
      },
    })
  } catch (error) {
    throw new GitFailedError(`cannot run git: ${reasonOf(error)}`, 'failed', { cause: error })
  }
}

async function readOutput({ stdout }: Command, maxBytes: number): Promise<GitOutput> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of stdout) {
    chunks.push(chunk as Buffer)
    bytes += (chunk as Buffer).length
    if (bytes > maxBytes) return { output: Buffer.concat(chunks).subarray(0, maxBytes), truncated: true }
  }
  return { output: Buffer.concat(chunks), truncated: false }
}

async function readComplaint({ stderr }: Command): Promise<string> {
  let text = ''
  try {
    for await (const chunk of stderr.setEncoding('utf8') as AsyncIterable<string>) {
      if (text.length < MAX_COMPLAINT_LENGTH) text += chunk
    }
  } catch {
    // Cut off together with git; what there is has to do.
  }
  return text
}
