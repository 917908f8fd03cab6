/** What is copied as a workspace has a repository of its own, and what cannot be copied costs the rest nothing. */
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { silentLogger } from '../../../base/log/logger.js'
import { prepareWorkspace } from '../../boot/steps/workspace.js'
import { ChildRegistry } from '../../process/children.js'
import { systemClock } from '../../process/clock.js'
import type { Account } from '../../process/run-as.js'
import { commandRunner } from '../../system/command.js'

const NEEDS_ROOT = process.getuid?.() === 0 ? false : 'needs root, to become another account'
const NOBODY: Account = { name: 'nobody', uid: 65534, gid: 65534, home: '/nonexistent' }
const PATH = process.env['PATH'] ?? ''
const run = commandRunner(new ChildRegistry())

interface Scope {
  teardown(clean: () => void): void
}

function git(cwd: string, ...args: string[]): string {
  const env: Record<string, string> = { PATH, HOME: '/nonexistent', GIT_CONFIG_COUNT: '4' }
  const config = {
    'safe.directory': '*',
    'user.name': 'A',
    'user.email': 'a@b',
    'protocol.file.allow': 'always',
  }
  Object.entries(config).forEach(([key, value], index) => {
    env[`GIT_CONFIG_KEY_${index}`] = key
    env[`GIT_CONFIG_VALUE_${index}`] = value
  })
  return execFileSync('git', args, { cwd, encoding: 'utf8', env, stdio: ['ignore', 'pipe', 'pipe'] }).trim()
}

function makePlace(t: Scope): { readonly base: string; readonly main: string; readonly path: string } {
  const base = realpathSync(mkdtempSync(join(tmpdir(), 'discobot-copied-')))
  t.teardown(() => rmSync(base, { recursive: true, force: true }))
  chmodSync(base, 0o755)
  for (const name of ['home', 'run']) mkdirSync(join(base, name))
  const main = join(base, 'main')
  git(base, 'init', '--quiet', '--initial-branch=main', main)
  commit(main, 'first')
  return { base, main, path: join(base, 'home', 'workspace') }
}

function commit(work: string, name: string): string {
  writeFileSync(join(work, name), name)
  git(work, 'add', '.')
  git(work, 'commit', '--quiet', '-m', name)
  return git(work, 'rev-parse', 'HEAD')
}

async function copy(base: string, source: string, owner?: Account, search = PATH): Promise<string> {
  const path = join(base, 'home', 'workspace')
  rmSync(path, { recursive: true, force: true })
  const deps = {
    options: { path, source },
    cwd: base,
    runtimeDir: join(base, 'run'),
    recordFile: join(base, 'clones.json'),
    owner: () => Promise.resolve(owner),
    env: { PATH: search, HOME: join(base, 'home') },
    run,
    logger: silentLogger,
    clock: systemClock,
  }
  return prepareWorkspace(deps, new AbortController().signal).then(
    ({ remark }) => remark,
    (error: unknown) => String(error),
  )
}

/** All branches of a repository, and where they are. */
const branchesOf = (folder: string): string =>
  git(folder, 'for-each-ref', '--format=%(refname) %(objectname)') + git(folder, 'rev-parse', 'HEAD')

void t.test('a copy commits into a repository of its own', async (t) => {
  const { base, main, path } = makePlace(t)
  const worktree = join(base, 'worktree')
  git(main, 'worktree', 'add', '--quiet', '-b', 'side', worktree)
  commit(worktree, 'on side')
  writeFileSync(join(worktree, 'staged'), 'staged')
  git(worktree, 'add', 'staged')

  const outer = join(base, 'outer')
  git(base, 'init', '--quiet', '--initial-branch=main', outer)
  git(outer, 'submodule', '--quiet', 'add', `file://${main}`, 'sub')
  git(outer, 'commit', '--quiet', '-m', 'sub')

  const linked = join(base, 'linked')
  mkdirSync(linked)
  symlinkSync(join(main, '.git'), join(linked, '.git'))
  // As git-new-workdir makes them.
  const workdir = join(base, 'workdir')
  mkdirSync(join(workdir, '.git', 'logs'), { recursive: true })
  for (const name of ['config', 'refs', 'objects', 'info', 'packed-refs', 'logs/refs', 'hooks'])
    if (existsSync(join(main, '.git', name)))
      symlinkSync(join(main, '.git', name), join(workdir, '.git', name))
  writeFileSync(join(workdir, '.git', 'HEAD'), readFileSync(join(main, '.git', 'HEAD')))
  const around = join(base, 'around')
  mkdirSync(around)
  git(main, 'worktree', 'add', '--quiet', '-b', 'inner', join(around, 'inner'))

  for (const [source, at, original, branch] of [
    [worktree, '', worktree, 'side'],
    [join(outer, 'sub'), '', join(outer, 'sub'), 'main'],
    [linked, '', main, 'main'],
    [workdir, '', main, 'main'],
    [around, 'inner', main, 'inner'],
    [outer, 'sub', join(outer, 'sub'), 'main'],
  ] as const) {
    const before = branchesOf(original)
    t.equal(await copy(base, source), `copied ${source}`)
    const made = join(path, at)
    t.equal(git(made, 'symbolic-ref', '--short', 'HEAD'), branch, source)
    if (source === worktree) t.match(git(made, 'status', '--porcelain'), /^A {2}staged$/)
    const head = commit(made, 'of the copy')
    t.equal(git(made, 'log', '-1', '--format=%s', head), 'of the copy')
    t.equal(branchesOf(original), before, `${source}: the original is as it was`)
    t.match(git(made, 'rev-parse', '--absolute-git-dir'), path)
    git(made, 'checkout', '--quiet', '-b', 'new')
    t.equal(branchesOf(original), before)
  }
})

void t.test('a copy whose repository cannot be had is a plain folder, and says so', async (t) => {
  const { base, main, path } = makePlace(t)
  const worktree = join(base, 'worktree')
  git(main, 'worktree', 'add', '--quiet', '-b', 'side', worktree)
  renameSync(main, `${main}-moved`)
  t.match(
    await copy(base, worktree),
    /WorkspaceIncompleteError: cannot copy all of .*worktree: no history in \.: .*; the rest is there/,
  )
  t.strictSame(readdirSync(path), ['first'])
  renameSync(`${main}-moved`, main)
  t.equal(git(main, 'rev-parse', 'side'), git(main, 'rev-parse', 'main'))
})

void t.test('what the account may not read costs only itself', { skip: NEEDS_ROOT }, async (t) => {
  const { base, path } = makePlace(t)
  chownSync(join(base, 'home'), NOBODY.uid, NOBODY.gid)
  const source = join(base, 'project')
  mkdirSync(join(source, 'src'), { recursive: true })
  mkdirSync(join(source, 'pgdata'), { mode: 0o700 })
  writeFileSync(join(source, 'pgdata', 'data'), 'x')
  writeFileSync(join(source, 'src', 'main.c'), 'code')
  writeFileSync(join(source, 'src', '.env'), 'x', { mode: 0o600 })
  const said = await copy(base, source, NOBODY)
  t.match(
    said,
    /cannot copy all of .*project: cp: cannot .*Permission denied \(and 1 more, see the log\); the rest is there/,
  )
  t.equal(readFileSync(join(path, 'src/main.c'), 'utf8'), 'code')
  t.equal(statSync(path).uid, NOBODY.uid)

  // What is not to be read at all is no workspace, and a full disk is something else.
  chmodSync(source, 0o700)
  t.match(await copy(base, source, NOBODY), /WorkspaceError: cannot copy .*; let the account read the source/)
  t.strictSame(readdirSync(path), [])
  chmodSync(source, 0o755)
  const bin = join(base, 'bin')
  mkdirSync(bin)
  const failing =
    '#!/bin/sh\necho "cp: cannot open x: Permission denied" >&2\necho "cp: error writing y: No space left on device" >&2\nexit 1\n'
  writeFileSync(join(bin, 'cp'), failing, { mode: 0o755 })
  t.match(
    await copy(base, source, NOBODY, `${bin}:${PATH}`),
    /WorkspaceError: cannot copy .*: cp: error writing y: No space left on device; free some disk space/,
  )
  t.strictSame(readdirSync(path), [])
})
