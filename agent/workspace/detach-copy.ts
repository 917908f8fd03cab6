import { join, relative } from 'node:path'
import { isWithin } from '../../config/model/paths.js'
import type { CommandOptions, RunCommand } from '../system/command.js'
import { reasonAndRemedy } from './remedy.js'

interface CopiedTree {
  /** What was copied, with all links followed. */
  readonly source: string
  readonly copy: string
  readonly run: RunCommand
  /** As the account of the copy, and without secrets: what is copied may name programs. */
  readonly command: CommandOptions
}

/** Below each `.git` that is a folder, what of it may be a link to another repository's (git-new-workdir). */
const SHARED = ['HEAD', 'refs', 'packed-refs', 'index', 'config', 'objects', 'logs']

/**
 * A worktree, a submodule or a `git-new-workdir` has its repository elsewhere, by name: a copy of it would commit into
 * the original's. Each such place in the copy gets a repository of its own, with the same history, branch and index.
 *
 * @returns why some of them have none now: they are plain folders then, and nothing leads to the original's.
 */
export async function detachCopy(tree: CopiedTree): Promise<readonly string[]> {
  const { copy, run, command } = tree
  const found = await run(['find', copy, '-name', '.git', '-prune', '-print0'], command)
  const failures: string[] = []
  for (const path of found.split('\0').filter((one) => one !== '')) {
    const folder = path.slice(0, -'/.git'.length)
    if (await isOwn(tree, folder)) continue
    try {
      await giveOwn(tree, folder)
    } catch (error) {
      command.signal.throwIfAborted()
      await run(['rm', '-rf', '--', join(folder, '.git')], command)
      failures.push(`${relative(copy, folder) || '.'}: ${reasonAndRemedy(error)}`)
    }
  }
  return failures
}

/** Whether git in `folder` of the copy works on nothing outside of the copy. */
async function isOwn(tree: CopiedTree, folder: string): Promise<boolean> {
  const { copy, run, command } = tree
  const looked = await run(['sh', '-c', LOOK, 'sh', join(folder, '.git'), SHARED.join(' ')], command)
  if (looked !== '') return looked === 'own'
  const places = await placesOf(tree, folder, '--git-dir', '--git-common-dir', '--show-toplevel').catch(
    () => undefined,
  )
  return places !== undefined && places.every((place) => isWithin(place, copy))
}

/** `own` for a plain repository, which most are, `shared` for one with links in it, and nothing where git must be asked. */
const LOOK = `
test -L "$1" || test -d "$1" || exit 0
for name in $2; do if test -L "$1/$name"; then echo shared; exit 0; fi; done
test -L "$1" || test -e "$1/commondir" || grep -qi worktree "$1/config" || echo own
`

/** What git answers, each as a path with all links followed. */
async function placesOf(
  { run, command }: CopiedTree,
  folder: string,
  ...questions: string[]
): Promise<string[]> {
  const places: string[] = []
  for (const question of questions) {
    const path = await run(['git', 'rev-parse', question], { ...trusting(command), cwd: folder })
    places.push(await run(['realpath', '--', path], { ...command, cwd: folder }))
  }
  return places
}

async function giveOwn(tree: CopiedTree, folder: string): Promise<void> {
  const { source, copy, run, command } = tree
  const original = join(source, relative(copy, folder))
  const [own = '', common = ''] = await placesOf(tree, original, '--git-dir', '--git-common-dir')
  const git = join(folder, '.git')
  // Links in it are kept where they can be, and followed where they lead to what is to be had apart.
  for (const how of ['-a', '-RLp']) {
    await run(['rm', '-rf', '--', git], command)
    await run(['cp', how, '--', common, git], command)
    if (own !== common) await run(['sh', '-ec', ADD, 'sh', own, git, how], command)
    await run(['sh', '-ec', SETTLE, 'sh', git], command)
    if (await isOwn(tree, folder)) return
  }
  throw new Error('its repository stays elsewhere')
}

/** What a worktree has apart from the repository's others. */
const ADD = `
cd -- "$1"
for name in HEAD index ORIG_HEAD MERGE_HEAD config.worktree info modules logs/HEAD; do
  if test -e "$name"; then cp "$3" -- "$name" "$2/$(dirname "$name")/"; fi
done
`

/** Other worktrees are others' places. Exit code 5: it was not set, as in a worktree. */
const SETTLE = `
rm -rf -- "$1/worktrees" "$1/commondir" "$1/gitdir"
git config --file "$1/config" core.bare false
git config --file "$1/config" --unset-all core.worktree || test $? = 5
`

/** The original is somebody else's, and is only asked where it is. */
function trusting(command: CommandOptions): CommandOptions {
  const env = { GIT_CONFIG_COUNT: '1', GIT_CONFIG_KEY_0: 'safe.directory', GIT_CONFIG_VALUE_0: '*' }
  return { ...command, env: { ...command.env, ...env } }
}
