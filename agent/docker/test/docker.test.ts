import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { removeStalePids } from '../../boot/steps/dockerd.js'
import { nestCgroups } from '../cgroup-nesting.js'
import { configureDockerClient } from '../client-config.js'
import { planDocker } from '../plan.js'
import { readOptions, type AgentOptions } from '../../settings/options.js'

const ALL = 'CapEff:\t000001ffffffffff\n'
/** Docker's default set. */
const DEFAULTS = 'CapEff:\t00000000a80425fb\n'

void t.test('dockerd runs only where it is installed and permitted, and otherwise one line says why', (t) => {
  const bin = t.testdir({ dockerd: '#!/bin/sh\n' })
  const notExecutable = planDocker(optionsOf({ PATH: bin }), 0, ALL)
  t.strictSame(notExecutable, { run: false, reason: 'dockerd is not installed' })
  const there = join(bin, 'dockerd')
  chmodSync(there, 0o755)
  const table: readonly (readonly [AgentOptions, number, string, object])[] = [
    [optionsOf({ PATH: bin }), 0, ALL, { run: true, dockerd: there }],
    [optionsOf({ PATH: bin, DISCOBOT_DOCKER: 'off' }), 0, ALL, { run: false, reason: /is "off"/ }],
    [optionsOf({ PATH: bin }, 4711), 0, ALL, { run: false, reason: /only a container/ }],
    [optionsOf({ PATH: bin }), 1000, ALL, { run: false, reason: /needs root/ }],
    [
      optionsOf({ PATH: bin }),
      0,
      DEFAULTS,
      { run: false, reason: /CAP_NET_ADMIN and CAP_SYS_ADMIN missing; .*--privileged/ },
    ],
    [optionsOf({ PATH: bin }), 0, '', { run: false, reason: /missing/ }],
    [optionsOf({ PATH: '/nonexistent' }), 0, ALL, { run: false, reason: /not installed/ }],
    [optionsOf({ PATH: `.:${bin}` }), 0, ALL, { run: true, dockerd: there }],
  ]
  for (const [options, uid, status, plan] of table) t.match(planDocker(options, uid, status), plan)
  t.end()
})

function optionsOf(env: Record<string, string>, pid = 1): AgentOptions {
  return readOptions({ env, pid, uid: 0, cwd: '/', homedir: '/root' })
}

void t.test('cgroup version 2: processes move to a leaf, then every controller is handed down', async (t) => {
  const mount = t.testdir({
    'cgroup.controllers': 'cpu memory pids\n',
    'cgroup.events': 'populated 1\n',
    'cgroup.procs': '1\n17\n',
    'cgroup.subtree_control': '',
  })
  t.equal(await nestCgroups(mount), 'nested')
  t.equal(readFileSync(join(mount, 'cgroup.subtree_control'), 'utf8'), '+cpu +memory +pids')
  // In a real hierarchy every write adds one; a plain file keeps the last.
  t.equal(readFileSync(join(mount, 'init', 'cgroup.procs'), 'utf8'), '17')
})

void t.test("version 1 and the machine's real root are left alone", async (t) => {
  t.equal(await nestCgroups(t.testdir({ memory: {} })), 'not needed')
  const root = t.testdir({
    'cgroup.controllers': 'cpu\n',
    'cgroup.procs': '1\n',
    'cgroup.subtree_control': 'as it was',
  })
  t.equal(await nestCgroups(root), 'not needed')
  t.equal(readFileSync(join(root, 'cgroup.subtree_control'), 'utf8'), 'as it was')
})

void t.test('a hierarchy that cannot be written to is told with its remedy', async (t) => {
  const mount = t.testdir({
    'cgroup.controllers': 'cpu\n',
    'cgroup.events': '',
    'cgroup.procs': '1\n',
    init: 'a file',
  })
  await t.rejects(nestCgroups(mount), { code: 'CGROUP_NESTING_FAILED', message: /--privileged/ })
})

void t.test('pid files of an earlier life are removed, and nothing else', async (t) => {
  const folder = t.testdir({
    'docker.pid': '17',
    'docker-ssd.pid': '18',
    'sshd.pid': '19',
    docker: { containerd: { 'containerd.pid': '20', 'containerd.toml': '' } },
  })
  await removeStalePids(folder)
  for (const gone of ['docker.pid', 'docker-ssd.pid', 'docker/containerd/containerd.pid']) {
    t.throws(() => statSync(join(folder, gone)), { code: 'ENOENT' })
  }
  for (const kept of ['sshd.pid', 'docker/containerd/containerd.toml']) t.ok(statSync(join(folder, kept)))
})

void t.test(
  "the docker client's file gets our proxy, loses it again, and keeps everything else",
  async (t) => {
    const path = join(t.testdir(), '.docker', 'config.json')
    const read = (): unknown => JSON.parse(readFileSync(path, 'utf8'))
    await configureDockerClient(path, { proxyUrl: undefined })
    t.throws(() => statSync(path), { code: 'ENOENT' })
    const proxyUrl = 'http://172.17.0.1:17080'
    const ours = {
      httpProxy: proxyUrl,
      httpsProxy: proxyUrl,
      noProxy: 'localhost,127.0.0.1,::1,172.16.0.0/12',
    }
    await configureDockerClient(path, { proxyUrl })
    t.strictSame(read(), { proxies: { default: ours } })
    t.equal(statSync(path).mode & 0o777, 0o600)

    writeFileSync(
      path,
      JSON.stringify({ auths: { 'r.example': { auth: 'x' } }, proxies: { default: ours, 'tcp://h': {} } }),
    )
    await configureDockerClient(path, { proxyUrl: undefined })
    t.strictSame(read(), { auths: { 'r.example': { auth: 'x' } }, proxies: { 'tcp://h': {} } })

    const theirs = { proxies: { default: { httpProxy: 'http://corporate:3128' } } }
    writeFileSync(path, JSON.stringify(theirs))
    await configureDockerClient(path, { proxyUrl })
    t.strictSame(read(), theirs)

    mkdirSync(join(path, '..'), { recursive: true })
    writeFileSync(path, 'not JSON')
    await t.rejects(configureDockerClient(path, { proxyUrl }), { code: 'DOCKER_CONFIG_UNUSABLE' })
    t.equal(readFileSync(path, 'utf8'), 'not JSON')
  },
)
