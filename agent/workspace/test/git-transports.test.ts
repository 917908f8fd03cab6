import { execFileSync } from 'node:child_process'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { largeFilesStep, submodulesStep } from '../../boot/steps/extras.js'
import type { BootFindings } from '../../boot/findings/findings.js'
import type { BootStep } from '../../status/step.js'
import { prepareWorkspace, type WorkspaceStepDeps } from '../../boot/steps/workspace.js'
import { ChildRegistry } from '../../process/children.js'
import { systemClock } from '../../process/clock.js'
import { readOptions, type WorkspaceOptions } from '../../settings/options.js'
import { commandRunner } from '../../system/command.js'
import { startGitServer } from '../../../test/lab/origins/git-server.js'
import { recordingLogger, type LogLine } from '../../../test/lab/service-lab.js'
import { makeOriginCertificates } from '../../../test/lab/origins/origin-certificates.js'
import { startSshServer } from './ssh-server.js'

const NEEDS_ROOT = process.getuid?.() === 0 ? false : 'needs root, to run an SSH server'

interface Scope {
  teardown(clean: () => Promise<void> | void): void
}

const run = commandRunner(new ChildRegistry())
const PATH = process.env['PATH'] ?? ''
const never = new AbortController().signal

function git(cwd: string, ...args: string[]): string {
  const config = [
    ['safe.directory', '*'],
    ['user.name', 'A'],
    ['user.email', 'a@b'],
    ['protocol.file.allow', 'always'],
    ['init.defaultBranch', 'main'],
  ] as const
  const env: Record<string, string> = { PATH, HOME: '/nonexistent', GIT_CONFIG_COUNT: String(config.length) }
  config.forEach(([key, value], index) => {
    env[`GIT_CONFIG_KEY_${index}`] = key
    env[`GIT_CONFIG_VALUE_${index}`] = value
  })
  return execFileSync('git', args, { cwd, encoding: 'utf8', env, stdio: ['ignore', 'pipe', 'pipe'] }).trim()
}

interface Place {
  readonly base: string
  /** Bare repositories. */
  readonly origins: string
  readonly path: string
  readonly lines: LogLine[]
  deps(options: Partial<WorkspaceOptions>, env?: Record<string, string>): WorkspaceStepDeps
  /** Makes `origins/NAME.git` of what `fill` does in a work tree. */
  origin(name: string, fill: (work: string) => void): string
  prepare(options: Partial<WorkspaceOptions>, env?: Record<string, string>): Promise<string>
  forget(): void
}

function makePlace(t: Scope): Place {
  const base = realpathSync(mkdtempSync(join(tmpdir(), 'discobot-transports-')))
  t.teardown(() => rmSync(base, { recursive: true, force: true }))
  const origins = join(base, 'origins')
  for (const folder of ['origins', 'run', 'home', 'work']) mkdirSync(join(base, folder))
  const path = join(base, 'home', 'workspace')
  const logger = recordingLogger()
  let now = 0
  const deps: Place['deps'] = (options, env = {}) => ({
    options: { path, ...options },
    cwd: base,
    runtimeDir: join(base, 'run'),
    recordFile: join(base, 'clones.json'),
    owner: () => Promise.resolve(undefined),
    env: { PATH, HOME: join(base, 'home'), ...env },
    run,
    logger,
    // Every look at it is an hour later, so that there is progress to tell of, and nobody sleeps.
    clock: { ...systemClock, now: () => (now += 3_600_000), sleep: () => Promise.resolve() },
  })
  return {
    base,
    origins,
    path,
    lines: logger.lines,
    deps,
    origin: (name, fill) => {
      const work = join(base, 'work', name)
      mkdirSync(work)
      git(work, 'init', '--quiet')
      fill(work)
      const bare = join(origins, `${name}.git`)
      git(base, 'clone', '--quiet', '--bare', work, bare)
      return bare
    },
    prepare: async (options, env) => (await prepareWorkspace(deps(options, env), never)).remark,
    forget: () => rmSync(path, { recursive: true, force: true }),
  }
}

function commit(work: string, name: string, content: string): string {
  writeFileSync(join(work, name), content)
  git(work, 'add', '.')
  git(work, 'commit', '--quiet', '-m', name)
  return git(work, 'rev-parse', 'HEAD')
}

/** Three versions of one file on main, a branch `side` and a tag `v1` at the first. */
function history(place: Place): { readonly first: string; readonly last: string } {
  let first = ''
  let last = ''
  place.origin('repo', (work) => {
    first = commit(work, 'file', 'one')
    git(work, 'tag', '-a', 'v1', '-m', 'v1')
    git(work, 'branch', 'side')
    commit(work, 'file', 'two')
    last = commit(work, 'file', 'three')
  })
  return { first, last }
}

function missingObjects(path: string): number {
  const listed = git(path, 'rev-list', '--objects', '--all', '--missing=print')
  return listed.split('\n').filter((line) => line.startsWith('?')).length
}

void t.test(
  'over https, with the certificate checked: earlier versions are fetched when they are asked for',
  async (t) => {
    const place = makePlace(t)
    history(place)
    const certificates = await makeOriginCertificates(t, ['127.0.0.1'])
    const { certFile, keyFile } = certificates.certificate('127.0.0.1')
    const tls = { cert: readFileSync(certFile, 'utf8'), key: readFileSync(keyFile, 'utf8') }
    const token = { username: 'x-access-token', password: 'T0ken-s3cret' }
    const open = await startGitServer(t, place.origins, undefined, undefined, { tls })
    const closed = await startGitServer(t, place.origins, token, undefined, { tls })
    const env = { GIT_SSL_CAINFO: certificates.caFile }

    await t.rejects(place.prepare({ source: `${open.url}/repo.git` }), /certificate.*; have the image trust/i)
    place.forget()
    t.match(
      await place.prepare({ source: `${open.url}/repo.git` }, env),
      /^cloned main at .*, earlier versions/,
    )
    t.equal(readFileSync(join(place.path, 'file'), 'utf8'), 'three')
    t.equal(missingObjects(place.path), 2, 'the two earlier versions')
    t.match(
      place.lines.filter(({ message }) => message === 'workspace'),
      [{ fields: { phase: /./, percent: /^\d+$/ } }],
      'progress is told',
    )

    place.forget()
    // Later git has no token, so everything comes now.
    const secret = { source: `${closed.url}/repo.git`, gitToken: token.password }
    t.match(await place.prepare(secret, env), /^cloned main at \w+$/)
    t.equal(missingObjects(place.path), 0)
    place.forget()
    t.match(await place.prepare({ ...secret, history: { kind: 'partial' } }, env), /, earlier versions/)
    t.equal(missingObjects(place.path), 2)
    t.notMatch(execFileSync('grep', ['-r', '', join(place.path, '.git', 'config')]).toString(), 'T0ken')
  },
)

void t.test('over ssh, with the host known and the key given', { skip: NEEDS_ROOT }, async (t) => {
  const place = makePlace(t)
  const { last } = history(place)
  const keys = join(place.base, 'keys')
  mkdirSync(keys)
  const server = await startSshServer(t, keys)
  const stranger = await startSshServer(t, mkdtempSync(join(keys, 'other-')))
  const known = join(place.base, 'known_hosts')
  writeFileSync(known, server.knownHost)
  const at = (port: number): string => `ssh://root@127.0.0.1:${port}${place.origins}/repo.git`
  const options = { source: at(server.port), gitSshKey: server.key, gitKnownHosts: known }

  t.equal(await place.prepare(options), `cloned main at ${last.slice(0, 7)}`)
  t.equal(git(place.path, 'remote', 'get-url', 'origin'), options.source)
  place.forget()
  await t.rejects(
    place.prepare({ ...options, gitSshKey: stranger.key }),
    /Permission denied \(publickey.*; give a key with access in DISCOBOT_GIT_SSH_KEY/i,
  )
  place.forget()
  writeFileSync(known, server.knownHost.replace(/ \S+\n$/, ` ${stranger.knownHost.split(' ')[2] ?? ''}`))
  await t.rejects(place.prepare(options), /Host key verification failed.*DISCOBOT_GIT_KNOWN_HOSTS/)
  t.strictSame(readdirSync(join(place.base, 'run')), [], 'no key is left')
})

void t.test('as much history as was asked for, always on a branch', async (t) => {
  const place = makePlace(t)
  const { first, last } = history(place)
  const { url } = await startGitServer(t, place.origins)
  const source = `${url}/repo.git`
  const shallow = { kind: 'shallow', commits: 1 } as const
  const table: readonly (readonly [string | undefined, string, string])[] = [
    [undefined, 'main', last],
    ['main', 'main', last],
    ['side', 'side', first],
    ['refs/heads/side', 'side', first],
    ['v1', 'discobot/v1', first],
    ['refs/tags/v1', 'discobot/v1', first],
  ]
  for (const [ref, branch, at] of table) {
    place.forget()
    const remark = await place.prepare({ source, history: shallow, ...(ref === undefined ? {} : { ref }) })
    t.equal(remark, `cloned ${branch} at ${at.slice(0, 7)}, without its history`)
    t.equal(git(place.path, 'rev-list', '--count', 'HEAD'), '1', ref ?? 'default')
    t.equal(git(place.path, 'symbolic-ref', '--short', 'HEAD'), branch)
    t.equal(git(place.path, 'status', '--porcelain'), '')
  }
  place.forget()
  await place.prepare({ source, ref: 'side', history: shallow })
  t.equal(git(place.path, 'rev-parse', '--abbrev-ref', 'side@{upstream}'), 'origin/side')
  place.forget()
  await t.rejects(place.prepare({ source, ref: 'absent', history: shallow }), /no such branch, tag or commit/)
  place.forget()
  t.match(await place.prepare({ source, history: { kind: 'full' } }), /^cloned main at \w+$/)
  t.equal(missingObjects(place.path), 0)

  const read = (value: string): unknown =>
    readOptions({ env: { DISCOBOT_WORKSPACE_CLONE: value }, pid: 1, uid: 0, cwd: '/', homedir: '/' })
  t.match(read('depth:20'), { workspace: { history: { kind: 'shallow', commits: 20 } }, problems: [] })
  t.match(read('partial'), { workspace: { history: { kind: 'partial' } }, problems: [] })
  for (const wrong of ['depth:0', 'depth:', 'depth:1e9', 'shallow']) {
    t.match(read(wrong), { workspace: { history: { kind: 'auto' } }, problems: [/want auto, partial, full/] })
  }
})

void t.test('a server of files only gives everything it has', async (t) => {
  const place = makePlace(t)
  const { last } = history(place)
  git(join(place.origins, 'repo.git'), 'update-server-info')
  const { createServer } = await import('node:http')
  const server = createServer((request, response) => {
    try {
      response.end(readFileSync(join(place.origins, new URL(request.url ?? '/', 'http://x').pathname)))
    } catch {
      response.writeHead(404).end()
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const source = `http://127.0.0.1:${port}/repo.git`
  for (const kind of [{ kind: 'auto' }, { kind: 'shallow', commits: 1 }] as const) {
    place.forget()
    t.match(await place.prepare({ source, history: kind }), `cloned main at ${last.slice(0, 7)}`)
    t.equal(missingObjects(place.path), 0)
    t.equal(git(place.path, 'rev-list', '--count', 'HEAD'), '3')
  }
})

void t.test('a clone that breaks off is tried again, but not for ever', async (t) => {
  const place = makePlace(t)
  const { last } = history(place)
  const twice = await startGitServer(t, place.origins, undefined, undefined, { breakOff: 2 })
  t.match(await place.prepare({ source: `${twice.url}/repo.git` }), `cloned main at ${last.slice(0, 7)}`)
  t.equal(place.lines.filter(({ message }) => /broke off/.test(message)).length, 2)
  place.forget()
  const always = await startGitServer(t, place.origins, undefined, undefined, { breakOff: 100 })
  await t.rejects(place.prepare({ source: `${always.url}/repo.git` }), { code: 'WORKSPACE_UNAVAILABLE' })
  t.strictSame(readdirSync(place.path), [])
})

void t.test('an existing clone is fetched at most, and nothing of its own changes', async (t) => {
  const place = makePlace(t)
  history(place)
  const { url } = await startGitServer(t, place.origins)
  const source = `${url}/repo.git`
  await place.prepare({ source })
  writeFileSync(join(place.path, 'file'), 'unsaved work')
  const before = git(place.path, 'rev-parse', 'HEAD')
  const work = join(place.base, 'work', 'repo')
  const newer = commit(work, 'file', 'four')
  git(work, 'push', '--quiet', join(place.origins, 'repo.git'), 'main')

  t.equal(await place.prepare({ source }), 'kept, on main')
  t.not(git(place.path, 'rev-parse', 'origin/main'), newer)
  t.equal(await place.prepare({ source, fetch: 'on' }), 'kept, on main, fetched')
  t.equal(git(place.path, 'rev-parse', 'origin/main'), newer)
  t.equal(git(place.path, 'rev-parse', 'HEAD'), before)
  t.equal(readFileSync(join(place.path, 'file'), 'utf8'), 'unsaved work')

  rmSync(join(place.origins, 'repo.git'), { recursive: true })
  t.match(
    await place.prepare({ source, fetch: 'on' }),
    /^kept, on main, not fetched: .*; check DISCOBOT_WORKSPACE/,
  )
  t.equal(readFileSync(join(place.path, 'file'), 'utf8'), 'unsaved work')
})

/** The workspace and its two further steps, as the boot runs them. */
async function bootWith(
  place: Place,
  options: Partial<WorkspaceOptions>,
): Promise<{ readonly submodules: string; readonly lfs: string }> {
  const deps = place.deps(options)
  const { clone } = await prepareWorkspace(deps, never)
  const findings: BootFindings = clone === undefined ? {} : { clone }
  const outcome = async (step: { run: BootStep['run'] }): Promise<string> => {
    try {
      const remark = (await step.run(never)) ?? ''
      return typeof remark === 'string' ? remark : remark.notDone
    } catch (error) {
      return String(error)
    }
  }
  return {
    submodules: await outcome(submodulesStep(deps, findings)),
    lfs: await outcome(largeFilesStep(deps, findings)),
  }
}

void t.test('submodules and theirs are checked out once, and again only while one is missing', async (t) => {
  const place = makePlace(t)
  const leaf = place.origin('leaf', (work) => commit(work, 'leaf', 'leaf'))
  const { url } = await startGitServer(t, place.origins)
  const submodule = (work: string, name: string): void => {
    git(work, 'submodule', '--quiet', 'add', `file://${place.origins}/${name}.git`, `in ${name}`)
    git(work, 'config', '--file', '.gitmodules', `submodule.in ${name}.url`, `../${name}.git`)
    commit(work, 'own', name)
  }
  place.origin('middle', (work) => submodule(work, 'leaf'))
  place.origin('repo', (work) => submodule(work, 'middle'))
  const source = `${url}/repo.git`
  const nested = join(place.path, 'in middle', 'in leaf', 'leaf')

  rmSync(leaf, { recursive: true })
  const first = await bootWith(place, { source })
  t.match(
    first.submodules,
    /cannot check out its submodules: .*leaf.*; the workspace is there without them, and the next start tries again/,
  )
  t.equal(readFileSync(join(place.path, 'own'), 'utf8'), 'middle', 'the workspace itself is there')

  git(place.base, 'clone', '--quiet', '--bare', join(place.base, 'work', 'leaf'), leaf)
  writeFileSync(join(place.path, 'in middle', 'own'), 'unsaved work')
  t.equal((await bootWith(place, { source })).submodules, '2 checked out')
  t.equal(readFileSync(nested, 'utf8'), 'leaf')
  t.equal(readFileSync(join(place.path, 'in middle', 'own'), 'utf8'), 'unsaved work')
  t.strictSame(await bootWith(place, { source }), { submodules: 'nothing to do', lfs: 'nothing to do' })

  place.forget()
  t.match(await bootWith(place, { source, submodules: 'off' }), { submodules: /is "off"/, lfs: 'none' })
  place.forget()
  const shallow = await bootWith(place, { source, history: { kind: 'shallow', commits: 1 } })
  t.equal(shallow.submodules, '2 checked out')
})

void t.test('a submodule may not come from where the repository’s author should not reach', async (t) => {
  const place = makePlace(t)
  const secret = place.origin('secret', (work) => commit(work, 'x', 'x'))
  place.origin('repo', (work) => {
    git(work, 'submodule', '--quiet', 'add', `file://${secret}`, 'sub')
    commit(work, 'own', 'own')
  })
  const { url } = await startGitServer(t, place.origins)
  const { submodules } = await bootWith(place, { source: `${url}/repo.git` })
  t.match(submodules, /transport 'file' not allowed; have the repository name its submodules by https or ssh/)
  t.strictSame(readdirSync(join(place.path, 'sub')), [])
})

void t.test('large files take the place of their pointers, in a step of their own', async (t) => {
  const place = makePlace(t)
  const bare = join(place.origins, 'large.git')
  git(place.base, 'init', '--quiet', '--bare', bare)
  const work = join(place.base, 'work', 'large')
  mkdirSync(work)
  git(work, 'init', '--quiet')
  git(work, 'lfs', 'install', '--local')
  git(work, 'lfs', 'track', '*.bin')
  commit(work, 'model.bin', 'the large content')
  git(work, 'remote', 'add', 'origin', `file://${bare}`)
  git(work, 'push', '--quiet', 'origin', 'main')
  const source = `file://${bare}`
  const large = join(place.path, 'model.bin')

  // Where git-lfs is missing, and where it is.
  const bin = join(place.base, 'bin')
  mkdirSync(bin)
  const real = execFileSync('sh', ['-c', 'command -v git'], { encoding: 'utf8' }).trim()
  const script = `#!/bin/sh\n[ "$1" = lfs ] && { echo "git: 'lfs' is not a git command." >&2; exit 1; }\nexec ${real} "$@"\n`
  writeFileSync(join(bin, 'git'), script, { mode: 0o755 })
  const without = place.deps({ source }, { PATH: `${bin}:${PATH}` })
  const { clone } = await prepareWorkspace(without, never)
  await t.rejects(
    largeFilesStep(without, clone === undefined ? {} : { clone }).run(never),
    /cannot fetch its large files: git: 'lfs' is not a git command\.; install git-lfs in the image/,
  )
  t.match(readFileSync(large, 'utf8'), /^version https:\/\/git-lfs/)
  t.equal((await bootWith(place, { source })).lfs, 'fetched')
  t.equal(readFileSync(large, 'utf8'), 'the large content')
  t.equal(git(place.path, 'status', '--porcelain'), '')
  t.equal((await bootWith(place, { source })).lfs, 'nothing to do')
  place.forget()
  t.match((await bootWith(place, { source, lfs: 'off' })).lfs, /is "off"/)
})

void t.test(
  'a server that leaves files out and does not give them later costs the saving, not the files',
  async (t) => {
    const place = makePlace(t)
    history(place)
    const { url } = await startGitServer(t, place.origins, undefined, undefined, { filtersOnce: true })
    t.match(await place.prepare({ source: `${url}/repo.git` }), /^cloned main at [0-9a-f]{7}$/)
    t.equal(readFileSync(join(place.path, 'file'), 'utf8'), 'three')
    t.equal(missingObjects(place.path), 0)
  },
)

void t.test(
  'a head that names no branch gives the branch that there is, or says which to name',
  async (t) => {
    const place = makePlace(t)
    const { last } = history(place)
    const bare = join(place.origins, 'repo.git')
    git(bare, 'symbolic-ref', 'HEAD', 'refs/heads/gone')
    const source = `file://${bare}`
    for (const kind of [undefined, { kind: 'shallow', commits: 1 }] as const) {
      place.forget()
      const remark = await place.prepare({ source, ...(kind === undefined ? {} : { history: kind }) })
      t.match(remark, `cloned main at ${last.slice(0, 7)}`)
      t.equal(git(place.path, 'rev-parse', '--abbrev-ref', 'main@{upstream}'), 'origin/main')
    }
    // `side` alone, whatever it is called; and of two, neither of them usual.
    git(bare, 'branch', '-D', 'main')
    place.forget()
    t.match(await place.prepare({ source }), /^cloned side at/)
    git(bare, 'branch', 'other', 'side')
    place.forget()
    await t.rejects(place.prepare({ source }), {
      message: /HEAD names "gone", which is not there; name one of other, side in DISCOBOT_WORKSPACE_REF/,
    })
  },
)

void t.test('what of a repository cannot be had costs the rest of it nothing', async (t) => {
  const place = makePlace(t)
  for (const name of ['good', 'bad', 'late'])
    place.origin(name, (work) => {
      commit(work, 'own', name)
      commit(work, '.gitattributes', '*.bin filter=lfs diff=lfs merge=lfs -text\n')
    })
  place.origin('repo', (work) => {
    for (const name of ['bad', 'good', 'late'])
      git(work, 'submodule', '--quiet', 'add', `file://${place.origins}/${name}.git`, name)
    // An entry that no `.gitmodules` knows, and a section that no entry has.
    const stray = `160000,${git(join(place.base, 'work', 'good'), 'rev-parse', 'HEAD')},old/stray`
    git(work, 'update-index', '--add', '--cacheinfo', stray)
    git(work, 'config', '--file', '.gitmodules', 'submodule.gone.path', 'gone')
    git(work, 'config', '--file', '.gitmodules', 'submodule.gone.url', '../gone.git')
    git(work, 'add', '.gitmodules')
    git(work, 'commit', '--quiet', '-m', 'own')
  })
  rmSync(join(place.origins, 'bad.git'), { recursive: true })
  const source = `file://${place.origins}/repo.git`
  const { submodules, lfs } = await bootWith(place, { source })
  t.match(submodules, /cannot check out its submodules: bad: .*; the workspace is there without them/)
  for (const name of ['good', 'late']) t.equal(readFileSync(join(place.path, name, 'own'), 'utf8'), name)
  t.equal(lfs, 'fetched')

  git(
    place.base,
    'clone',
    '--quiet',
    '--bare',
    join(place.base, 'work', 'bad'),
    join(place.origins, 'bad.git'),
  )
  t.match(await bootWith(place, { source }), { submodules: '3 checked out', lfs: 'nothing to do' })
})

void t.test('a repository cannot have the token sent elsewhere, nor programs run', async (t) => {
  const place = makePlace(t)
  const token = { username: 'x-access-token', password: 'T0ken-s3cret' }
  const server = await startGitServer(t, place.origins, token)
  const stranger = await startGitServer(t, place.origins, { username: 'x', password: 'y' })
  const ran = join(place.base, 'ran')
  const options = { source: `${server.url}/repo.git`, gitToken: token.password }
  place.origin('leaf', (work) => commit(work, 'own', 'leaf'))
  const module = (work: string, name: string, url: string): void => {
    git(work, 'config', '--file', '.gitmodules', `submodule.${name}.path`, name)
    git(work, 'config', '--file', '.gitmodules', `submodule.${name}.url`, url)
    const head = git(join(place.base, 'work', 'leaf'), 'rev-parse', 'HEAD')
    git(work, 'update-index', '--add', '--cacheinfo', `160000,${head},${name}`)
  }
  place.origin('repo', (work) => {
    module(work, 'elsewhere', `${stranger.url}/leaf.git`)
    module(work, 'program', `ext::sh -c "echo ext >>${ran}"`)
    module(work, 'option', `--upload-pack=touch ${ran}`)
    module(work, 'host', `ssh://-oProxyCommand=touch%20${ran}/x`)
    module(work, 'itself', './../repo.git')
    writeFileSync(join(work, '.gitattributes'), '*.bin filter=lfs diff=lfs merge=lfs -text\n')
    writeFileSync(
      join(work, '.lfsconfig'),
      `[lfs]\n\turl = ${stranger.url}/lfs\n\tstandalonetransferagent = x\n[lfs "customtransfer.x"]\n\tpath = ${ran}\n[credential]\n\thelper = !touch ${ran}\n[core]\n\tsshCommand = touch ${ran}\n\tfsmonitor = touch ${ran}\n`,
    )
    const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${'a'.repeat(64)}\nsize 12\n`
    writeFileSync(join(work, 'model.bin'), pointer)
    git(
      work,
      '-c',
      'filter.lfs.clean=cat',
      '-c',
      'filter.lfs.process=',
      '-c',
      'filter.lfs.required=false',
      'add',
      '.gitmodules',
      '.gitattributes',
      '.lfsconfig',
      'model.bin',
    )
    git(work, 'commit', '--quiet', '-m', 'hostile')
  })
  const { submodules, lfs } = await bootWith(place, options)
  t.match(submodules, /cannot check out its submodules: /)
  t.match(lfs, /cannot fetch its large files: /)
  t.equal(
    readFileSync(join(place.path, 'model.bin'), 'utf8').split('\n')[0],
    'version https://git-lfs.github.com/spec/v1',
  )
  t.notOk(readdirSync(place.base).includes('ran'), 'nothing of it has run')
  t.ok(server.authorizations.some((sent) => sent !== ''))
  t.ok(stranger.authorizations.length > 0, 'it was asked')
  t.ok(
    stranger.authorizations.every((sent) => sent === ''),
    'and was told nothing',
  )
})
