/** Git with a secret of the operator's runs on nothing that the agent could have prepared. */
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
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
import type { BootFindings } from '../../boot/findings/findings.js'
import type { BootStep } from '../../status/step.js'
import { largeFilesStep, submodulesStep } from '../../boot/steps/extras.js'
import { prepareWorkspace, type WorkspaceStepDeps } from '../../boot/steps/workspace.js'
import { ChildRegistry } from '../../process/children.js'
import { systemClock } from '../../process/clock.js'
import type { WorkspaceOptions } from '../../settings/options.js'
import type { Account } from '../../process/run-as.js'
import { commandRunner } from '../../system/command.js'
import { readCloneRecord, unsealClones, writeCloneRecord } from '../clone-record.js'
import { startGitServer } from '../../../test/lab/origins/git-server.js'

const NEEDS_ROOT = process.getuid?.() === 0 ? false : 'needs root, to become another account'
const OWNER: Account = { name: 'nobody', uid: 65534, gid: 65534, home: '/nonexistent' }
const TOKEN = 'T0ken-s3cret'
const PATH = process.env['PATH'] ?? ''
const never = new AbortController().signal
const run = commandRunner(new ChildRegistry())

interface Scope {
  teardown(clean: () => Promise<void> | void): void
}

interface Place {
  readonly base: string
  readonly origins: string
  readonly path: string
  /** What a program of the agent's has found to tell: written by `spy`. */
  readonly told: string
  /** A program that writes down all it can get of the secrets. */
  readonly spy: string
  readonly recordFile: string
  deps(options: Partial<WorkspaceOptions>, sealed?: boolean): WorkspaceStepDeps
  commit(name: string): string
  boot(deps: WorkspaceStepDeps): Promise<{ workspace: string; submodules: string; lfs: string }>
}

function git(cwd: string, ...args: string[]): string {
  const env = {
    PATH,
    HOME: '/nonexistent',
    GIT_CONFIG_COUNT: '4',
    GIT_CONFIG_KEY_0: 'safe.directory',
    GIT_CONFIG_VALUE_0: '*',
    GIT_CONFIG_KEY_1: 'user.name',
    GIT_CONFIG_VALUE_1: 'A',
    GIT_CONFIG_KEY_2: 'user.email',
    GIT_CONFIG_VALUE_2: 'a@b',
    GIT_CONFIG_KEY_3: 'protocol.file.allow',
    GIT_CONFIG_VALUE_3: 'always',
  }
  return execFileSync('git', args, { cwd, encoding: 'utf8', env, stdio: ['ignore', 'pipe', 'pipe'] }).trim()
}

function makePlace(t: Scope): Place {
  const base = realpathSync(mkdtempSync(join(tmpdir(), 'discobot-prepared-')))
  t.teardown(() => rmSync(base, { recursive: true, force: true }))
  chmodSync(base, 0o755)
  const [origins, work, runtimeDir, home] = ['origins', 'work', 'run', 'home'].map((name) => {
    mkdirSync(join(base, name))
    return join(base, name)
  }) as [string, string, string, string]
  chownSync(home, OWNER.uid, OWNER.gid)
  git(work, 'init', '--quiet', '--initial-branch=main')
  const bare = join(origins, 'repo.git')
  const commit = (name: string): string => {
    writeFileSync(join(work, name), name)
    git(work, 'add', '.')
    git(work, 'commit', '--quiet', '-m', name)
    if (existsSync(bare)) git(work, 'push', '--quiet', bare, 'main')
    return git(work, 'rev-parse', 'HEAD')
  }
  commit('first')
  git(base, 'clone', '--quiet', '--bare', work, bare)
  const told = join(home, 'told')
  const spy = join(home, 'spy')
  writeFileSync(
    spy,
    `#!/bin/sh\n{ echo "ran as $0 $*"; env; cat ${runtimeDir}/git-access-*/*; } >>${told} 2>/dev/null\nexit 1\n`,
    { mode: 0o755 },
  )
  const recordFile = join(base, 'clones.json')
  const path = join(home, 'workspace')
  const outcome = async (step: ReturnType<BootStep['run']>): Promise<string> => {
    try {
      const remark = (await step) ?? ''
      return typeof remark === 'string' ? remark : remark.notDone
    } catch (error) {
      return String(error)
    }
  }
  return {
    base,
    origins,
    path,
    told,
    spy,
    recordFile,
    commit,
    deps: (options, sealed = false) => ({
      options: { path, ...options },
      cwd: base,
      runtimeDir,
      recordFile,
      sealed,
      owner: () => Promise.resolve(OWNER),
      env: { PATH, HOME: home },
      run,
      logger: silentLogger,
      clock: systemClock,
    }),
    async boot(deps) {
      const findings: BootFindings = {}
      const workspace = await outcome(
        prepareWorkspace(deps, never).then(({ remark, clone }) => {
          if (clone !== undefined) findings.clone = clone
          return remark
        }),
      )
      return {
        workspace,
        submodules: await outcome(submodulesStep(deps, findings).run(never)),
        lfs: await outcome(largeFilesStep(deps, findings).run(never)),
      }
    },
  }
}

/** All that a clone's own configuration can have run, by itself or by what the remote sends. */
function plant({ path, spy }: Place): void {
  const set = (key: string, value: string): string => git(path, 'config', key, value)
  for (const key of ['core.fsmonitor', 'core.sshCommand', 'core.askPass', 'core.alternateRefsCommand'])
    set(key, spy)
  set('credential.helper', `!${spy} helper`)
  set('credential.http://127.0.0.1.helper', `!${spy} helper`)
  set('remote.origin.uploadpack', spy)
  set('remote.origin.proxy', 'http://127.0.0.1:1')
  set('uploadpack.packObjectsHook', spy)
  set('filter.lfs.smudge', `${spy} smudge`)
  set('filter.lfs.process', `${spy} process`)
  set('lfs.customtransfer.spy.path', spy)
  set('lfs.standalonetransferagent', 'spy')
  set('submodule.sub.update', `!${spy} update`)
  const hooks = join(path, '.git', 'hooks')
  mkdirSync(hooks, { recursive: true })
  for (const hook of ['post-checkout', 'reference-transaction', 'post-merge', 'pre-auto-gc'])
    writeFileSync(join(hooks, hook), `#!/bin/sh\nexec ${spy} hook\n`, { mode: 0o755 })
  execFileSync('chown', ['-R', `${OWNER.uid}`, path])
}

const tokenServer = (t: Scope, origins: string) =>
  startGitServer(t, origins, { username: 'x-access-token', password: TOKEN })

void t.test(
  'a clone that says of itself what is missing is not believed, and is run in without the token',
  { skip: NEEDS_ROOT },
  async (t) => {
    const place = makePlace(t)
    const { url } = await tokenServer(t, place.origins)
    git(join(place.base, 'work'), 'init', '--quiet')
    const options = { source: `${url}/repo.git`, gitToken: TOKEN }
    t.match(await place.boot(place.deps(options)), {
      workspace: /^cloned main/,
      submodules: 'none',
      lfs: 'none',
    })
    t.match(statSync(place.recordFile), { uid: 0, mode: 0o100600 })
    t.notOk(existsSync(join(place.path, '.git/discobot-workspace.json')), 'nothing of ours is in it')

    plant(place)
    writeFileSync(
      join(place.path, '.git/discobot-workspace.json'),
      JSON.stringify({ source: options.source, ref: '', pending: ['submodules', 'lfs'] }),
    )
    t.strictSame(await place.boot(place.deps(options)), {
      workspace: 'kept, on main',
      submodules: 'nothing to do',
      lfs: 'nothing to do',
    })
    t.notOk(existsSync(place.told), 'and nothing of its own has run')

    // What a boot that broke off has really left undone.
    const record = readCloneRecord(place.recordFile, place.path)
    t.match(record, { pending: [], sealed: false })
    if (record === undefined) return
    writeFileSync(join(place.path, '.gitattributes'), '*.bin filter=lfs\n')
    writeFileSync(join(place.path, 'x.bin'), 'version https://git-lfs.github.com/spec/v1\n')
    git(place.path, '-c', 'core.fsmonitor=false', '-c', 'filter.lfs.process=', 'add', '.gitattributes')
    await writeCloneRecord(place.recordFile, place.path, { ...record, pending: ['submodules', 'lfs'] })
    const { lfs } = await place.boot(place.deps(options))
    t.notMatch(existsSync(place.told) ? readFileSync(place.told, 'utf8') : '', TOKEN)
    t.match(lfs, /it was tried without DISCOBOT_GIT_TOKEN and DISCOBOT_GIT_SSH_KEY.*move it away/)
  },
)

void t.test(
  'a fetch brings the branches with the token, and the clone’s own programs never see it',
  { skip: NEEDS_ROOT },
  async (t) => {
    const place = makePlace(t)
    const server = await tokenServer(t, place.origins)
    for (const history of [{ kind: 'full' }, { kind: 'partial' }, { kind: 'shallow', commits: 1 }] as const) {
      rmSync(place.path, { recursive: true, force: true })
      rmSync(place.told, { force: true })
      const options = { source: `${server.url}/repo.git`, gitToken: TOKEN, history, fetch: 'on' } as const
      t.match((await place.boot(place.deps(options))).workspace, /^cloned main/)
      plant(place)
      const stranger = await startGitServer(t, place.origins)
      git(place.path, 'config', 'remote.origin.url', `${stranger.url}/repo.git`)
      git(place.path, 'config', `url.${stranger.url}/.insteadOf`, `${server.url}/`)
      execFileSync('chown', ['-R', `${OWNER.uid}`, place.path])
      const next = place.commit(`after ${history.kind}`)
      const before = server.authorizations.length
      t.equal((await place.boot(place.deps(options))).workspace, 'kept, on main, fetched')
      t.equal(git(place.path, 'rev-parse', 'origin/main'), next, history.kind)
      t.ok(server.authorizations.slice(before).some((sent) => sent !== ''))
      t.strictSame(stranger.authorizations, [], 'where it is fetched from is for the operator to say')
      t.notMatch(existsSync(place.told) ? readFileSync(place.told, 'utf8') : '', TOKEN, history.kind)
      t.notOk(existsSync(`${place.path}.fetch`))
      const strangers = execFileSync('find', [join(place.base, 'home'), '!', '-user', 'nobody'])
      t.notMatch(strangers.toString(), /workspace/)
    }
  },
)

void t.test(
  'a clone is made without the account’s own settings, which the agent can write',
  { skip: NEEDS_ROOT },
  async (t) => {
    const place = makePlace(t)
    const server = await tokenServer(t, place.origins)
    const stranger = await startGitServer(t, place.origins)
    const home = join(place.base, 'home')
    const templates = join(home, 'templates')
    mkdirSync(join(templates, 'hooks'), { recursive: true })
    writeFileSync(join(templates, 'hooks', 'post-checkout'), `#!/bin/sh\nexec ${place.spy} hook\n`, {
      mode: 0o755,
    })
    const settings = `[init]\n\ttemplateDir = ${templates}\n[core]\n\tsshCommand = ${place.spy}\n\tfsmonitor = ${place.spy}\n[credential]\n\thelper = !${place.spy}\n[url "${stranger.url}/"]\n\tinsteadOf = ${server.url}/\n`
    writeFileSync(join(home, '.gitconfig'), settings)
    mkdirSync(join(home, '.config/git'), { recursive: true })
    writeFileSync(join(home, '.config/git/config'), settings)
    const options = { source: `${server.url}/repo.git`, gitToken: TOKEN }
    t.match((await prepareWorkspace(place.deps(options), never)).remark, /^cloned main/)
    t.notOk(existsSync(place.told))
    t.strictSame(stranger.authorizations, [])
  },
)

void t.test('what is said of a clone is ours to say', { skip: NEEDS_ROOT }, async (t) => {
  const place = makePlace(t)
  const record = { source: 'https://x/', ref: '', pending: ['lfs'], sealed: true } as const
  await writeCloneRecord(place.recordFile, '/a', record)
  await writeCloneRecord(place.recordFile, '/b', { ...record, pending: [] })
  t.strictSame(readCloneRecord(place.recordFile, '/a'), record)
  t.equal(readCloneRecord(place.recordFile, '/c'), undefined)
  await unsealClones(place.recordFile)
  t.match(readCloneRecord(place.recordFile, '/a'), { sealed: false, pending: ['lfs'] })
  t.match(readCloneRecord(place.recordFile, '/b'), { sealed: false })

  await writeCloneRecord(place.recordFile, '/a', record)
  chownSync(place.recordFile, OWNER.uid, OWNER.gid)
  t.equal(readCloneRecord(place.recordFile, '/a'), undefined, 'not of another account')
  rmSync(place.recordFile)
  const other = join(place.base, 'home', 'clones.json')
  writeFileSync(other, JSON.stringify({ '/a': record }))
  symlinkSync(other, place.recordFile)
  chownSync(place.base, OWNER.uid, OWNER.gid)
  t.throws(() => readCloneRecord(place.recordFile, '/a'), { code: 'PATH_NOT_FOLLOWED' })
})
