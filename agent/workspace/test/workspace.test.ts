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
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { silentLogger } from '../../../base/log/logger.js'
import { prepareWorkspace, type WorkspaceStepDeps } from '../../boot/steps/workspace.js'
import { ChildRegistry } from '../../process/children.js'
import { systemClock } from '../../process/clock.js'
import type { WorkspaceOptions } from '../../settings/options.js'
import { findAccount, type Account } from '../../process/run-as.js'
import { commandRunner } from '../../system/command.js'
import { startGitServer } from '../../../test/lab/origins/git-server.js'

/** tap's test object, as far as it is needed here. */
interface Scope {
  teardown(clean: () => Promise<void> | void): void
}

const run = commandRunner(new ChildRegistry())
const AUTHOR = {
  GIT_AUTHOR_NAME: 'A',
  GIT_AUTHOR_EMAIL: 'a@b',
  GIT_COMMITTER_NAME: 'A',
  GIT_COMMITTER_EMAIL: 'a@b',
}
const PATH = process.env['PATH'] ?? ''

function git(cwd: string, ...args: string[]): string {
  const env = {
    PATH,
    HOME: '/nonexistent',
    ...AUTHOR,
    GIT_CONFIG_COUNT: '1',
    GIT_CONFIG_KEY_0: 'safe.directory',
    GIT_CONFIG_VALUE_0: '*',
  }
  return execFileSync('git', args, { cwd, encoding: 'utf8', env, stdio: ['ignore', 'pipe', 'pipe'] }).trim()
}

interface Place {
  readonly base: string
  /** Holds `repo.git`: main with two commits, branch `other`, annotated tag `v1` on the first, a pull request. */
  readonly origins: string
  readonly path: string
  readonly first: string
  readonly second: string
  readonly pull: string
}

/** In a folder that every account may pass through, unlike tap's. */
function makePlace(t: Scope): Place {
  const base = realpathSync(mkdtempSync(join(tmpdir(), 'discobot-workspace-')))
  t.teardown(() => rmSync(base, { recursive: true, force: true }))
  chmodSync(base, 0o755)
  const origins = join(base, 'origins')
  const work = join(base, 'work')
  for (const folder of [origins, work, join(base, 'run')]) mkdirSync(folder)
  git(work, 'init', '--quiet', '--initial-branch=main')
  const commit = (text: string): string => {
    writeFileSync(join(work, 'file'), text)
    git(work, 'add', '.')
    git(work, 'commit', '--quiet', '-m', text)
    return git(work, 'rev-parse', 'HEAD')
  }
  const first = commit('first')
  git(work, 'tag', '-a', 'v1', '-m', 'v1')
  git(work, 'branch', 'other')
  const second = commit('second')
  git(work, 'checkout', '--quiet', '--detach')
  const pull = commit('pull request')
  git(base, 'clone', '--quiet', '--bare', work, join(origins, 'repo.git'))
  git(join(origins, 'repo.git'), 'symbolic-ref', 'HEAD', 'refs/heads/main')
  git(work, 'push', '--quiet', join(origins, 'repo.git'), `${pull}:refs/pull/7/head`)
  return { base, origins, path: join(base, 'home', 'workspace'), first, second, pull }
}

function depsFor(place: Place, options: Partial<WorkspaceOptions>, owner?: Account): WorkspaceStepDeps {
  const home = join(place.base, 'home')
  if (!existsSync(home)) mkdirSync(home)
  if (owner !== undefined) chownSync(home, owner.uid, owner.gid)
  return {
    options: { path: place.path, ...options },
    cwd: place.base,
    runtimeDir: join(place.base, 'run'),
    recordFile: join(place.base, 'clones.json'),
    owner: () => Promise.resolve(owner),
    env: { PATH, HOME: home },
    run,
    logger: silentLogger,
    clock: systemClock,
  }
}

const prepare = async (deps: WorkspaceStepDeps): Promise<string> =>
  (await prepareWorkspace(deps, new AbortController().signal)).remark

/** A zombie has ended: it only waits for this machine's process 1. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

function leftovers({ base }: Place): string[] {
  const names = [...readdirSync(join(base, 'home')), ...readdirSync(join(base, 'run'))]
  return names.filter((name) => name !== 'workspace' && name !== '.config')
}

void t.test('a clone ends on a branch, whatever the ref is', async (t) => {
  const place = makePlace(t)
  const { first, second, pull } = place
  const table: readonly (readonly [string | undefined, string, string])[] = [
    [undefined, 'main', second],
    ['main', 'main', second],
    ['other', 'other', first],
    ['refs/heads/other', 'other', first],
    ['v1', 'discobot/v1', first],
    [first, `discobot/${first.slice(0, 12)}`, first],
    [first.slice(0, 9), `discobot/${first.slice(0, 12)}`, first],
    [pull, `discobot/${pull.slice(0, 12)}`, pull],
    ['refs/pull/7/head', 'discobot/pull/7/head', pull],
  ]
  git(join(place.origins, 'repo.git'), 'config', 'uploadpack.allowAnySHA1InWant', 'true')
  for (const [ref, branch, commit] of table) {
    rmSync(place.path, { recursive: true, force: true })
    const source = `file://${place.origins}/repo.git`
    const remark = await prepare(depsFor(place, { source, ...(ref === undefined ? {} : { ref }) }))
    t.equal(remark, `cloned ${branch} at ${commit.slice(0, 7)}`)
    t.equal(git(place.path, 'symbolic-ref', '--short', 'HEAD'), branch)
    t.equal(git(place.path, 'rev-parse', 'HEAD'), commit)
    t.equal(git(place.path, 'status', '--porcelain'), '')
    t.equal(git(place.path, 'remote', 'get-url', 'origin'), source)
  }
  t.strictSame(leftovers(place), [])
})

void t.test('an empty repository makes an empty workspace on its branch', async (t) => {
  const place = makePlace(t)
  git(place.base, 'init', '--quiet', '--bare', '--initial-branch=trunk', join(place.origins, 'empty.git'))
  const remark = await prepare(depsFor(place, { source: `file://${place.origins}/empty.git` }))
  t.match(remark, /^cloned \S+, which is empty$/)
})

void t.test('what cannot be cloned leaves an empty workspace, the reason and a remedy', async (t) => {
  const place = makePlace(t)
  const { url } = await startGitServer(t, place.origins, {
    username: 'x-access-token',
    password: 'right-token',
  })
  const file = `file://${place.origins}/repo.git`
  const table: readonly (readonly [Partial<WorkspaceOptions>, RegExp])[] = [
    [
      { source: `file://${place.base}/absent.git` },
      /cannot clone file:.*absent\.git: .*; check DISCOBOT_WORKSPACE/,
    ],
    [
      { source: file, ref: 'absent' },
      /DISCOBOT_WORKSPACE_REF "absent": the repository has no such branch, tag or commit/,
    ],
    [{ source: file, ref: '--upload-pack=x' }, /want the name of a branch or tag/],
    [{ source: 'ext::sh -c id' }, /run commands/],
    [{ source: `${url}/repo.git` }, /; give a token with access in DISCOBOT_GIT_TOKEN$/],
    [
      { source: `${url}/repo.git`, gitToken: 'wrong-token' },
      /; give a token with access in DISCOBOT_GIT_TOKEN$/,
    ],
    [{ source: 'http://127.0.0.1:1/repo.git' }, /; check that the host can be reached/],
    [{ source: 'http://example.com/repo.git', gitToken: 'right-token' }, /http is not encrypted; use https:/],
    [{ source: `${url}/repo.git`, gitToken: 'a\nb' }, /holds a line break/],
    [
      { source: 'git@example.com:a/b', gitSshKey: 'nonsense' },
      /cannot check the host key of example\.com.*DISCOBOT_GIT_KNOWN_HOSTS/,
    ],
    [{ source: 'git@github.com:a/b', gitSshKey: 'nonsense' }, /want a private key in PEM or OpenSSH format/],
    [{ source: 'git@github.com:a/b', gitKnownHosts: '/absent' }, /cannot read DISCOBOT_GIT_KNOWN_HOSTS/],
    [{ source: join(place.base, 'absent') }, /there is no such directory/],
    [{ source: join(place.base, 'work', 'file') }, /it is not a directory/],
    [{ source: place.base }, /one lies within the other/],
    [{ source: join(place.base, 'home') }, /one lies within the other/],
  ]
  for (const [options, reason] of table) {
    rmSync(place.path, { recursive: true, force: true })
    const error: unknown = await prepare(depsFor(place, options)).catch((thrown: unknown) => thrown)
    t.ok(error instanceof Error, JSON.stringify(options))
    t.match(String(error), reason)
    t.notMatch(String(error), /right-token|wrong-token/)
    t.strictSame(readdirSync(place.path), [])
  }
  t.strictSame(leftovers(place), [])
})

void t.test('a token opens the repository and is nowhere to be found afterwards', async (t) => {
  const place = makePlace(t)
  const server = await startGitServer(t, place.origins, {
    username: 'x-access-token',
    password: 'T0ken-s3cret',
  })
  // Git itself, but every call is put on record as `ps` and the environment's readers would see it.
  const bin = join(place.base, 'bin')
  mkdirSync(bin)
  const real = execFileSync('sh', ['-c', 'command -v git'], { encoding: 'utf8' }).trim()
  const record = join(place.base, 'record')
  writeFileSync(join(bin, 'git'), `#!/bin/sh\n{ echo "$0 $@"; env; } >> ${record}\nexec ${real} "$@"\n`, {
    mode: 0o755,
  })
  const deps = depsFor(place, { source: `${server.url}/repo.git`, gitToken: 'T0ken-s3cret' })
  t.equal(
    await prepare({ ...deps, env: { ...deps.env, PATH: `${bin}:${PATH}` } }),
    `cloned main at ${place.second.slice(0, 7)}`,
  )
  t.ok(
    server.authorizations.some((sent) => sent !== ''),
    'it was used',
  )
  t.match(readFileSync(record, 'utf8'), /git clone/)
  t.notMatch(readFileSync(record, 'utf8'), /T0ken-s3cret/)
  const found = execFileSync('sh', [
    '-c',
    `grep -rl T0ken-s3cret ${join(place.base, 'home')} ${join(place.base, 'run')} || true`,
  ])
  t.equal(found.toString(), '')
  t.strictSame(leftovers(place), [])
})

void t.test('a token in the URL is used, and stripped from what git stores', async (t) => {
  const place = makePlace(t)
  const server = await startGitServer(t, place.origins, { username: 'ada', password: 's3cret-pass' })
  const source = `${server.url.replace('://', '://ada:s3cret-pass@')}/repo.git`
  await prepare(depsFor(place, { source }))
  t.equal(git(place.path, 'remote', 'get-url', 'origin'), `${server.url}/repo.git`)
  t.equal(execFileSync('sh', ['-c', `grep -rl s3cret-pass ${place.path} || true`]).toString(), '')
})

void t.test('the token stays with the host it is for', async (t) => {
  const place = makePlace(t)
  const stranger = await startGitServer(t, place.origins, { username: 'x', password: 'y' })
  const server = await startGitServer(t, place.origins, undefined, stranger.url)
  const deps = depsFor(place, { source: `${server.url}/moved/repo.git`, gitToken: 'T0ken-s3cret' })
  await t.rejects(prepare(deps))
  t.ok(stranger.authorizations.length > 0, 'the redirect was followed')
  t.ok(stranger.authorizations.every((sent) => sent === ''))
})

void t.test('what is there is never touched', async (t) => {
  const place = makePlace(t)
  const source = `file://${place.origins}/repo.git`
  await prepare(depsFor(place, { source }))
  writeFileSync(join(place.path, 'file'), 'work that exists nowhere else')
  t.equal(await prepare(depsFor(place, { source })), 'kept, on main')
  await t.rejects(
    prepare(depsFor(place, { source, ref: 'other' })),
    /holds a clone of .*repo\.git, which was kept/,
  )
  await t.rejects(prepare(depsFor(place, { source: `${source}2` })), /which was kept; move it away/)
  t.equal(readFileSync(join(place.path, 'file'), 'utf8'), 'work that exists nowhere else')

  rmSync(place.path, { recursive: true })
  mkdirSync(place.path)
  writeFileSync(join(place.path, 'notes'), 'mine')
  await t.rejects(prepare(depsFor(place, { source })), /not from a clone of ours, and they were kept/)
  t.equal(await prepare(depsFor(place, {})), 'kept as it is')
  t.strictSame(readdirSync(place.path), ['notes'])
})

void t.test('an SSH key is used with pinned host keys, and is gone afterwards', async (t) => {
  const place = makePlace(t)
  const bin = join(place.base, 'bin')
  mkdirSync(bin)
  const record = join(place.base, 'record')
  // What git runs instead of a connection: the other end is this machine.
  const fake = [
    '#!/bin/sh',
    `for last do case "$last" in UserKnownHostsFile=*) file=\${last#*=}; eval cat "$file" ;; esac; done >> ${record}`,
    `echo "$@" >> ${record}; stat -c 'key %a' ${join(place.base, 'run')}/git-access-*/key >> ${record}`,
    'exec sh -c "$last"',
  ]
  writeFileSync(join(bin, 'ssh'), `${fake.join('\n')}\n`, { mode: 0o755 })
  const key = String.raw`-----BEGIN OPENSSH PRIVATE KEY-----\nS3cretKey\n-----END OPENSSH PRIVATE KEY-----`
  const knownHosts = join(place.base, 'known_hosts')
  writeFileSync(knownHosts, 'git.example ssh-ed25519 AAAAours\n')
  for (const [host, more] of [
    ['github.com', {}],
    ['git.example', { gitKnownHosts: knownHosts }],
  ] as const) {
    rmSync(place.path, { recursive: true, force: true })
    const source = `ssh://git@${host}${place.origins}/repo.git`
    const deps = depsFor(place, { source, gitSshKey: key, ...more })
    t.match(await prepare({ ...deps, env: { ...deps.env, PATH: `${bin}:${PATH}` } }), /^cloned main/)
  }
  const seen = readFileSync(record, 'utf8')
  t.match(seen, /BatchMode=yes -o StrictHostKeyChecking=yes .*IdentitiesOnly=yes .*-i \S+\/key/)
  t.match(seen, 'key 600')
  t.match(seen, /^github\.com ssh-ed25519 AAAA/m)
  t.match(seen, 'git.example ssh-ed25519 AAAAours')
  t.notMatch(seen, /S3cretKey/)
  t.strictSame(leftovers(place), [])
})

void t.test('an interrupted clone is no workspace', async (t) => {
  const place = makePlace(t)
  mkdirSync(join(place.base, 'home', '.workspace.partial-dead', '.git'), { recursive: true })
  mkdirSync(join(place.base, 'run', 'git-access-dead'))
  t.match(await prepare(depsFor(place, { source: `file://${place.origins}/repo.git` })), /^cloned main/)
  t.strictSame(leftovers(place), [])
})

void t.test('an abort ends git and leaves nothing half done', async (t) => {
  const place = makePlace(t)
  const bin = join(place.base, 'bin')
  mkdirSync(bin)
  const started = join(place.base, 'started')
  // A clone that hangs in a grandchild, as a transfer does.
  writeFileSync(join(bin, 'git'), `#!/bin/sh\nmkdir -p "$9"\nsleep 60 & echo $! > ${started}\nwait\n`, {
    mode: 0o755,
  })
  const controller = new AbortController()
  const deps = depsFor(place, { source: `file://${place.origins}/repo.git` })
  const ended = prepareWorkspace({ ...deps, env: { ...deps.env, PATH: `${bin}:${PATH}` } }, controller.signal)
  ended.catch(() => undefined)
  while (!existsSync(started) || readFileSync(started, 'utf8') === '')
    await new Promise((wake) => setTimeout(wake, 10))
  controller.abort(new Error('a stop was asked for'))
  await t.rejects(ended, /a stop was asked for/)
  const sleeper = Number(readFileSync(started, 'utf8'))
  while (isRunning(sleeper)) await new Promise((wake) => setTimeout(wake, 10))
  t.strictSame(leftovers(place), [])
})

void t.test('a directory is copied with its links and modes', async (t) => {
  const place = makePlace(t)
  const source = join(place.base, 'source')
  mkdirSync(source)
  writeFileSync(join(source, 'tool'), 'x', { mode: 0o755 })
  symlinkSync('tool', join(source, 'link'))
  t.equal(await prepare(depsFor(place, { source: './source' })), `copied ${source}`)
  t.strictSame(readdirSync(place.path).sort(), ['link', 'tool'])
  t.equal(statSync(join(place.path, 'tool')).mode & 0o777, 0o755)
  t.equal(await prepare(depsFor(place, { source })), 'kept as it is')
  t.strictSame(leftovers(place), [])
})

void t.test(
  "under root everything is cloned, copied and owned by the workspace's account",
  { skip: process.getuid?.() === 0 ? false : 'needs root, to become another account' },
  async (t) => {
    const place = makePlace(t)
    const owner = findAccount(readFileSync('/etc/passwd', 'utf8'), 'nobody')
    const server = await startGitServer(t, place.origins, {
      username: 'x-access-token',
      password: 'T0ken-s3cret',
    })
    for (const options of [
      { source: `${server.url}/repo.git`, gitToken: 'T0ken-s3cret' },
      // Whose repository belongs to root, which git refuses unless told.
      { source: `file://${place.origins}/repo.git` },
      { source: join(place.base, 'work') },
      {},
    ]) {
      rmSync(place.path, { recursive: true, force: true })
      await prepare(depsFor(place, options, owner))
      const strangers = execFileSync('find', [join(place.base, 'home'), '!', '-user', 'nobody'], {
        encoding: 'utf8',
      })
      t.equal(strangers, '', JSON.stringify(Object.keys(options)))
      t.ok(existsSync(place.path))
    }
    t.strictSame(leftovers(place), [])
  },
)
