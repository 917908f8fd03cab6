import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { chooseEngine, describeEngine, type EngineCandidates } from '../engine.js'
import { planRootless, type DockerPlan } from '../plan.js'
import { rootfulRefusals } from '../refusals.js'
import { readOptions, type AgentOptions } from '../../settings/options.js'
import { shortFolder } from '../../../test/lab/service-lab.js'

// A rootful engine makes its users root, so none is given while there is something to keep from them.

const HERE: DockerPlan = { run: true, dockerd: '/usr/sbin/dockerd' }
const absent = (reason: string): DockerPlan => ({ run: false, reason })
const SECRET = ['secrets are in force (KEY)']

function optionsOf(env: Record<string, string> = {}, pid = 1): AgentOptions {
  return readOptions({ env, pid, uid: 0, cwd: '/', homedir: '/root' })
}

void t.test('which engine runs, and why', (t) => {
  const both = { rootful: HERE, rootless: HERE }
  const onlyRootful = { rootful: HERE, rootless: absent('rootlesskit not found; install rootlesskit') }
  const onlyRootless = { rootful: absent('not permitted: CAP_SYS_ADMIN missing'), rootless: HERE }
  const neither = {
    rootful: absent('dockerd is not installed'),
    rootless: absent('dockerd is not installed'),
  }
  type Row = readonly [EngineCandidates, readonly string[], object]
  const table: readonly Row[] = [
    [{ wanted: 'auto', ...both }, [], { kind: 'rootful', why: /no secret to keep/ }],
    [{ wanted: 'auto', ...both }, SECRET, { kind: 'rootless', why: 'secrets are in force (KEY)' }],
    [
      { wanted: 'auto', ...both },
      [...SECRET, 'egress is enforced'],
      { kind: 'rootless', why: /\(KEY\), and since egress is enforced/ },
    ],
    [
      { wanted: 'auto', ...onlyRootful },
      SECRET,
      {
        kind: 'none',
        why: /rootful engine is refused, since secrets are in force \(KEY\), and a rootless one cannot run: rootlesskit not found; install/,
        remedy: /DISCOBOT_DOCKER=rootful/,
      },
    ],
    [{ wanted: 'auto', ...onlyRootful }, [], { kind: 'rootful' }],
    [{ wanted: 'auto', ...onlyRootless }, [], { kind: 'none', why: /not permitted/ }],
    [{ wanted: 'auto', ...onlyRootless }, SECRET, { kind: 'rootless' }],
    [{ wanted: 'rootful', ...both }, SECRET, { kind: 'rootful', why: /DISCOBOT_DOCKER is "rootful"/ }],
    [{ wanted: 'rootless', ...both }, [], { kind: 'rootless', why: /DISCOBOT_DOCKER is "rootless"/ }],
    [{ wanted: 'rootless', ...onlyRootful }, [], { kind: 'none', why: /rootlesskit not found/, remedy: /./ }],
    [{ wanted: 'rootful', ...onlyRootless }, [], { kind: 'none', why: /not permitted/, remedy: /./ }],
    [{ wanted: 'off', ...both }, SECRET, { kind: 'none', why: /is "off"/ }],
  ]
  for (const [candidates, refusals, engine] of table)
    t.match(chooseEngine(candidates, refusals), engine, JSON.stringify([candidates, refusals]))
  for (const refusals of [[], SECRET]) {
    const none = chooseEngine({ wanted: 'auto', ...neither }, refusals)
    t.strictSame(none, { kind: 'none', why: 'dockerd is not installed' }, 'nobody counts on it')
  }
  t.match(describeEngine(chooseEngine({ wanted: 'rootful', ...both }, []), ['slow']), {
    notStopped: [/root in the container/],
    limits: ['slow'],
  })
  t.strictSame(describeEngine(chooseEngine({ wanted: 'off', ...both }, [])).notStopped, [])
  t.end()
})

void t.test('every secret that root could read counts, unless the operator has named it', (t) => {
  const names = (env: Record<string, string>, ...rest: [object?, string[]?]): string =>
    rootfulRefusals(optionsOf(env), rest[0] as Parameters<typeof rootfulRefusals>[1], rest[1]).join()
  t.equal(names({}), '')
  t.equal(names({}, { secrets: {} }), '')
  t.equal(names({ DISCOBOT_SECRET_X: 'x' }), 'secrets are in force (DISCOBOT_SECRET_X)', 'of nobody yet')
  for (const name of ['DISCOBOT_GIT_TOKEN', 'DISCOBOT_GIT_SSH_KEY', 'DISCOBOT_API_TOKEN'])
    t.match(names({ [name]: 'x'.repeat(20) }), name)
  const secrets = {
    KEY: { hosts: ['a.test'], env: 'OWN' },
    FILE: { hosts: ['a.test'], file: '/run/secret' },
    OPEN: { hosts: ['a.test'], env: 'DISCOBOT_SECRET_OPEN', trust_docker: true },
  }
  t.equal(names({ DISCOBOT_SECRET_OPEN: 'x' }, { secrets }), 'secrets are in force (FILE, KEY)')
  t.equal(names({ DISCOBOT_SECRET_OPEN: 'x' }, { secrets: { OPEN: secrets.OPEN } }), '')
  t.match(names({ DISCOBOT_SECRET_X: 'x' }, { secrets: { OPEN: secrets.OPEN } }), /\(DISCOBOT_SECRET_X\)/)
  t.match(names({}, { secrets: {} }, ['VENDOR_KEY']), /VENDOR_KEY/, 'named in a file that is broken')
  for (const source of [
    'https://me:pw@git.test/a.git',
    'https://token@git.test/a.git',
    'ssh://me:pw@git.test/a',
  ])
    t.match(names({ DISCOBOT_WORKSPACE: source }), /\(DISCOBOT_WORKSPACE\)/, source)
  for (const source of ['https://git.test/a.git', 'ssh://git@git.test/a', 'git@git.test:a', '/srv/a@b:c@d'])
    t.equal(names({ DISCOBOT_WORKSPACE: source }), '', source)
  t.end()
})

void t.test('what a rootless engine takes is looked for, and what is missing is named', (t) => {
  const root = shortFolder(t)
  const bin = join(root, 'bin')
  mkdirSync(bin)
  const install = (...names: string[]): void => {
    for (const name of names) {
      writeFileSync(join(bin, name), '#!/bin/sh\n')
      chmodSync(join(bin, name), 0o755)
    }
  }
  const ALL = 'CapEff:\t000001ffffffffff\n'
  const plan = (env: Record<string, string> = {}, pid = 1, uid = 0, status = ALL): DockerPlan =>
    planRootless(optionsOf({ PATH: bin, ...env }, pid), uid, status, root)
  t.match(plan(), { run: false, reason: 'dockerd is not installed' })
  install('dockerd', 'ip', 'slirp4netns')
  t.match(plan(), {
    run: false,
    reason: 'rootlesskit, newuidmap, newgidmap not found; install rootlesskit, uidmap',
  })
  install('rootlesskit', 'newuidmap', 'newgidmap')
  t.match(plan(), {
    run: false,
    reason: /no \/dev\/net\/tun; run the container with --device \/dev\/net\/tun/,
  })
  mkdirSync(join(root, 'dev/net'), { recursive: true })
  writeFileSync(join(root, 'dev/net/tun'), '')
  t.match(plan(), { run: true, dockerd: join(bin, 'dockerd') })
  const without = 'CapEff:\t00000000a80425fb\n'
  t.match(plan({}, 1, 0, without), { run: true }, 'newuidmap has what it needs of its own')
  chmodSync(join(bin, 'newuidmap'), 0o4755)
  t.match(plan({}, 1, 0, without), { run: false, reason: /CAP_SYS_ADMIN missing; .*--privileged/ })
  t.match(plan(), { run: true })
  t.match(plan({ DISCOBOT_DOCKER: 'off' }), { run: false, reason: /off/ })
  t.match(plan({}, 4711), { run: false, reason: /only a container/ })
  t.match(plan({}, 1, 1000), { run: false, reason: /needs root/ })
  t.end()
})
