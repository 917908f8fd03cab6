import { chmodSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { gitState } from '../git/git-state.js'
import { parseStatus } from '../git/status.js'
import { ask, git, GIT_ENV, repository, startApi, type Answer } from '../../../test/lab/api-process.js'

interface Status {
  readonly branch: string | null
  readonly commit: string | null
  readonly upstream: string | null
  readonly ahead: number | null
  readonly files: readonly { readonly path: string }[]
}

const AUTHOR = ['-c', 'user.name=t', '-c', 'user.email=t@example.com'] as const

function read(answer: Answer): Status {
  return JSON.parse(answer.body) as Status
}

t.test('branch, upstream and each kind of change', async (t) => {
  const path = repository(t.testdir())
  for (const name of ['changed', 'gone', 'old name', 'staged'])
    writeFileSync(join(path, name), `${name}\n`.repeat(20))
  git(path, 'add', '.')
  git(path, ...AUTHOR, 'commit', '--quiet', '--message=second')
  git(path, 'update-ref', 'refs/remotes/origin/main', 'HEAD~1')
  git(path, 'remote', 'add', 'origin', 'https://example.invalid/x.git')
  git(path, 'branch', '--quiet', '--set-upstream-to=origin/main')
  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: path })
  const clean = read(await ask(api.port, '/api/git/status'))
  t.match(clean, { branch: 'main', commit: /^[0-9a-f]{40}$/, upstream: 'origin/main', ahead: 1, behind: 0 })
  t.same(clean.files, [])

  writeFileSync(join(path, 'changed'), 'x')
  rmSync(join(path, 'gone'))
  git(path, 'mv', 'old name', 'new ä\tname')
  writeFileSync(join(path, 'staged'), 'y')
  git(path, 'add', 'staged')
  writeFileSync(join(path, 'untracked\nfile'), '')
  const { files } = read(await ask(api.port, '/api/git/status'))
  t.same(
    [...files].sort((one, other) => (one.path < other.path ? -1 : 1)),
    [
      { path: 'changed', index: '.', worktree: 'M' },
      { path: 'gone', index: '.', worktree: 'D' },
      { path: 'new ä\tname', index: 'R', worktree: '.', from: 'old name' },
      { path: 'staged', index: 'M', worktree: '.' },
      { path: 'untracked\nfile', index: '?', worktree: '?' },
    ],
  )
})

t.test('a patch against a commit, of a path, of the index', async (t) => {
  const path = repository(t.testdir())
  mkdirSync(join(path, 'sub'))
  writeFileSync(join(path, 'sub/a'), 'one\n')
  git(path, 'add', '.')
  git(path, ...AUTHOR, 'commit', '--quiet', '--message=second')
  git(path, 'tag', 'v1')
  writeFileSync(join(path, 'sub/a'), 'two\n')
  writeFileSync(join(path, 'file'), 'staged\n')
  git(path, 'add', 'file')
  git(path, 'config', 'diff.mnemonicPrefix', 'true')
  git(path, 'config', 'color.diff', 'always')
  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: path })
  const diff = (query: string): Promise<Answer> => ask(api.port, `/api/git/diff${query}`)
  const all = await diff('')
  t.match(all, { status: 200, headers: { 'content-type': 'text/x-diff', 'discobot-truncated': 'false' } })
  t.match(all.body, /^diff --git a\/file b\/file\n/)
  t.match(all.body, /^diff --git a\/sub\/a b\/sub\/a\n(.*\n)*-one\n\+two\n/m)
  t.notMatch((await diff('?path=sub')).body, 'b/file')
  t.match((await diff('?path=sub')).body, '+two')
  t.equal((await diff('?path=s*')).body, '', 'a path is a path, not a pattern')
  t.notMatch((await diff('?staged=true')).body, '+two')
  t.match((await diff('?staged=true')).body, '+staged')
  t.match((await diff('?base=HEAD~1&path=sub/a')).body, /^--- \/dev\/null$/m)
  t.equal((await diff('?base=v1&path=sub')).status, 200)
  for (const [query, status] of [
    ['?base=nothing', 404],
    ['?base=HEAD..v1', 404],
    ['?base=--output=owned', 400],
    ['?base=', 400],
    ['?path=../x', 400],
    ['?path=/etc/passwd', 400],
    ['?path=:(top)x', 200],
  ] as const) {
    const answer = await diff(query)
    t.equal(answer.status, status, `${query} ${answer.body}`)
  }
  t.notOk(readdirSync(path).includes('owned'))

  const empty = t.testdir({ a: 'new\n' })
  git(empty, 'init', '--quiet', '--initial-branch=topic')
  git(empty, 'add', '.')
  const young = await startApi(t, { DISCOBOT_WORKSPACE_PATH: empty })
  t.match(read(await ask(young.port, '/api/git/status')), { branch: 'topic', commit: null, upstream: null })
  t.match((await ask(young.port, '/api/git/diff')).body, '+new', 'without a commit everything is new')
})

t.test('a patch is cut after a whole line, and says so', async (t) => {
  const path = repository(t.testdir())
  writeFileSync(join(path, 'file'), `${'x'.repeat(99)}\n`.repeat(60_000))
  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: path })
  const answer = await ask(api.port, '/api/git/diff')
  t.equal(answer.headers['discobot-truncated'], 'true')
  t.ok(answer.bytes.length <= 4 * 1024 * 1024 && answer.bytes.length > 4 * 1024 * 1024 - 200)
  t.ok(answer.body.endsWith(`+${'x'.repeat(99)}\n`))
})

t.test('a hostile repository runs nothing', async (t) => {
  const root = t.testdir()
  const owned = join(root, 'owned')
  const program = join(root, 'program')
  // Each says who called it, then does as it is asked.
  writeFileSync(program, `#!/bin/sh\necho "$0 $*" >> ${owned}\ncat\n`)
  chmodSync(program, 0o755)
  const sub = repository(join(root, 'sub'))
  const path = repository(join(root, 'workspace'))
  git(path, '-c', 'protocol.file.allow=always', 'submodule', '--quiet', 'add', sub, 'module')
  const attributes = ['*.txt filter=evil diff=evil', '*.eq filter=a=b', '*.proc filter=proc'].join('\n')
  writeFileSync(join(path, '.gitattributes'), `${attributes}\n`)
  for (const name of ['a.txt', 'b.eq', 'c.proc']) writeFileSync(join(path, name), 'one\n')
  git(path, 'add', '.')
  git(path, ...AUTHOR, 'commit', '--quiet', '--message=second')
  for (const [name, value] of [
    ['core.fsmonitor', program],
    ['core.hooksPath', root],
    ['core.pager', program],
    ['diff.external', program],
    ['diff.evil.command', program],
    ['diff.evil.textconv', program],
    ['filter.evil.clean', program],
    ['filter.evil.smudge', program],
    ['filter.evil.required', 'true'],
    ['filter.a=b.clean', program],
    ['filter.proc.process', program],
    ['diff.submodule', 'diff'],
    ['status.submoduleSummary', 'true'],
    ['diff.ignoreSubmodules', 'none'],
    ['submodule.module.ignore', 'none'],
  ] as const)
    git(path, 'config', name, value)
  for (const hook of ['post-index-change', 'fsmonitor-watchman'])
    writeFileSync(join(path, '.git/hooks', hook), `#!/bin/sh\n${program}\n`, { mode: 0o755 })
  // Included configuration counts as the repository's too.
  writeFileSync(join(path, '.git/more'), `[filter "more"]\n\tclean = ${program}\n`)
  git(path, 'config', 'include.path', 'more')
  git(join(path, 'module'), 'config', 'core.fsmonitor', program)
  for (const name of ['a.txt', 'b.eq', 'c.proc', 'module/file']) writeFileSync(join(path, name), 'changed\n')
  rmSync(owned, { force: true })

  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: path })
  const status = read(await ask(api.port, '/api/git/status'))
  t.same(status.files.map((file) => file.path).sort(), ['a.txt', 'b.eq', 'c.proc'])
  const diff = await ask(api.port, '/api/git/diff')
  t.match(diff.body, /-one\n\+changed/)
  t.equal((await ask(api.port, '/api/git/diff?base=HEAD~1&staged=true')).status, 200)
  t.match(JSON.parse((await ask(api.port, '/api/status')).body), { workspace: { state: 'git', dirty: true } })
  t.notOk(existsSync(owned), 'nothing was run')
  // It would have been: the same repository, asked without care.
  git(path, 'status')
  t.ok(existsSync(owned), 'though there was something to run')
})

t.test('neither what lies around the workspace nor what core.worktree names is shown', async (t) => {
  const around = repository(t.testdir())
  mkdirSync(join(around, 'workspace'))
  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: join(around, 'workspace') })
  t.match(await ask(api.port, '/api/git/status'), { status: 409, body: /not a git repository/ })

  const path = repository(join(around, 'other'))
  const secret = join(around, 'secret')
  mkdirSync(secret)
  writeFileSync(join(secret, 'file'), 'not to be seen\n')
  git(path, 'config', 'core.worktree', secret)
  const other = await startApi(t, { DISCOBOT_WORKSPACE_PATH: path })
  t.notMatch((await ask(other.port, '/api/git/diff')).body, 'not to be seen')
  t.same(read(await ask(other.port, '/api/git/status')).files, [])
})

t.test("the user's own filters are used", async (t) => {
  const home = t.testdir({ '.gitconfig': '[filter "upper"]\n\tclean = tr a-z A-Z\n' })
  const path = repository(join(home, 'workspace'))
  writeFileSync(join(path, '.gitattributes'), '*.txt filter=upper\n')
  writeFileSync(join(path, 'a.txt'), 'ONE\n')
  git(path, 'add', '.')
  git(path, ...AUTHOR, 'commit', '--quiet', '--message=second')
  writeFileSync(join(path, 'a.txt'), 'two\n')
  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: path, HOME: home })
  t.match((await ask(api.port, '/api/git/diff')).body, '+TWO')
})

t.test('git that is slow, missing or complains is said', async (t) => {
  const root = t.testdir({ bin: {} })
  const path = repository(join(root, 'workspace'))
  renameSync(join(path, '.git/HEAD'), join(path, '.git/TAIL'))
  const broken = await startApi(t, { DISCOBOT_WORKSPACE_PATH: path })
  t.match(await ask(broken.port, '/api/git/status'), {
    status: 409,
    headers: { 'content-type': 'application/problem+json' },
  })
  const missing = await startApi(t, { DISCOBOT_WORKSPACE_PATH: path, PATH: join(root, 'bin') })
  t.match(await ask(missing.port, '/api/git/diff'), { status: 409, body: /cannot run git/ })
  const state = await gitState({ path, env: { ...GIT_ENV, PATH: join(root, 'bin') }, timeoutMs: 1000 })
  t.match(state, { state: 'unknown', reason: /cannot run git/ })
})

t.test('no output of git, however strange, is taken for a file that is not there', async () => {
  const name = fc.string({ minLength: 1 }).filter((text) => !text.includes('\0'))
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.constantFrom('1', '?', 'u'), name)), (files) => {
      const before = { '1': '1 M. N... 1 2 3 a b ', '?': '? ', u: 'u UU N... 1 2 3 4 a b c ' }
      const output = files.map(([kind, path]) => `${before[kind]}${path}\0`).join('')
      const parsed = parseStatus(`# branch.head x\0${output}1 M. N... cut off`)
      return (
        JSON.stringify(parsed.files.map(({ path }) => path)) === JSON.stringify(files.map(([, path]) => path))
      )
    }),
  )
})
