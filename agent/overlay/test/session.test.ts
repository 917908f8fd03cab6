import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { NEEDS_ROOT } from '../../../test/lab/booted.js'
import { BUILT, startIsolated, type Container, type IsolatedSettings } from '../../../test/lab/isolated.js'

const UP = /Discobot is up.*Try next.*\n\n/s
const QUICK = { DISCOBOT_PROXY: 'off', DISCOBOT_DOCKER: 'off' }

interface Scope {
  teardown(clean: () => Promise<void> | void): void
}

async function boot(t: Scope, settings: IsolatedSettings): Promise<Container> {
  const container = await startIsolated(t, { ...settings, env: { ...QUICK, ...settings.env } })
  await container.logged(UP)
  return container
}

/** Sees the container's mounts, and lives on when its process 1 ends. */
function watchMounts(container: Container): ChildProcess {
  return spawn(
    'nsenter',
    [
      '--target',
      String(container.pid),
      '--mount',
      '--',
      'sh',
      '-c',
      'echo in; read line; cat /proc/self/mountinfo',
    ],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  )
}

async function mountsAfterwards(watcher: ChildProcess): Promise<string> {
  const { stdin, stdout } = watcher
  if (stdin === null || stdout === null) throw new Error('the watcher has no pipes')
  const mounts = text(stdout)
  stdin.end('\n')
  return mounts
}

void t.test(
  'each session has its own home and workspace over the same base, across restarts',
  { skip: NEEDS_ROOT },
  async (t) => {
    const dataDir = mkdtempSync(join(tmpdir(), 'discobot-data-'))
    t.teardown(() => rmSync(dataDir, { recursive: true, force: true }))
    const prepare = 'mkdir -p /srv/project; echo base > /srv/project/file'
    const as = (id: string): Promise<Container> =>
      boot(t, { dataDir, prepare, env: { DISCOBOT_SESSION_ID: id, DISCOBOT_WORKSPACE: '/srv/project' } })
    const say = async (container: Container, script: string): Promise<string> =>
      (await container.exec(script, { user: 'discobot', login: true })).stdout

    const one = await as('one')
    t.match(one.logs(), /boot step done .*step=overlay .*session one, new/)
    t.equal(
      await say(one, 'stat -c "%U %a" ~ ~/workspace; cat /workspace/file'),
      'discobot 755\ndiscobot 755\nbase\n',
    )
    await say(one, 'echo mine > /workspace/file; echo mine > ~/note; rm ~/.bashrc')
    t.equal(
      await say(one, 'ls /.data/home 2>/dev/null; cat /workspace/file'),
      'mine\n',
      'the layers are closed',
    )
    const watcher = watchMounts(one)
    await once(watcher, 'spawn')
    await new Promise((resolve) => watcher.stdout?.once('data', resolve))
    t.equal(await one.stop(), 0)
    t.notMatch(await mountsAfterwards(watcher), 'discobot-session', 'unmounted at the stop')

    const two = await as('two')
    t.match(two.logs(), /step=overlay .*session two, new/)
    t.equal(
      await say(two, 'cat /workspace/file; ls ~/note ~/.bashrc 2>/dev/null'),
      'base\n/home/discobot/.bashrc\n',
    )
    t.equal(await two.stop(), 0)

    const again = await as('one')
    t.match(again.logs(), /step=overlay .*session one, with its changes/)
    t.equal(await say(again, 'cat /workspace/file ~/note; ls ~/.bashrc 2>/dev/null'), 'mine\nmine\n')
    t.equal(await again.stop(), 0)
  },
)

void t.test('a stop right after the mount unmounts it too', { skip: NEEDS_ROOT }, async (t) => {
  const container = await startIsolated(t, { env: QUICK })
  const watcher = watchMounts(container)
  await container.logged(/boot step done .*step=overlay .*session default, new/)
  t.equal(await container.stop(), 0)
  t.notMatch(await mountsAfterwards(watcher), 'discobot-session')
})

void t.test(
  'where no overlay can be had the home is an ordinary one, and one line says why and what to do',
  { skip: NEEDS_ROOT },
  async (t) => {
    const agent = [process.execPath, join(BUILT, 'agent/main.js'), 'run'] as const
    const table: readonly (readonly [string, IsolatedSettings, RegExp])[] = [
      [
        'without CAP_SYS_ADMIN',
        { command: ['setpriv', '--bounding-set=-sys_admin', '--inh-caps=-sys_admin', ...agent] },
        /step=overlay .*mounting is not permitted; .*--privileged .*DISCOBOT_OVERLAY=off/,
      ],
      [
        "with the data dir on the container's own overlay",
        { env: { DISCOBOT_DATA_DIR: '/var/lib/data' } },
        /step=overlay .*the file system there cannot hold one; .*volume at DISCOBOT_DATA_DIR/,
      ],
    ]
    for (const [what, settings, reason] of table) {
      const container = await boot(t, settings)
      t.match(container.logs(), /boot step degraded .*step=overlay/, what)
      t.match(container.logs(), reason, what)
      const { stdout } = await container.exec(
        'stat -c "%U %a" ~discobot/workspace; grep -c discobot-s /proc/mounts',
      )
      t.equal(stdout, 'discobot 755\n0\n', what)
      t.equal(await container.stop(), 0)
    }
  },
)

void t.test(
  'what the operator mounted in the home, or a setting, rules the overlay out without a warning',
  { skip: NEEDS_ROOT },
  async (t) => {
    const workspace = mkdtempSync(join(tmpdir(), 'discobot-mounted-'))
    t.teardown(() => rmSync(workspace, { recursive: true, force: true }))
    const mounted = await boot(t, {
      prepare: 'mkdir -p /home/discobot/workspace; mount -t tmpfs tmpfs /home/discobot/workspace',
    })
    t.match(mounted.logs(), /step=overlay .*none: something is mounted at \/home\/discobot\/workspace/)
    t.notMatch(mounted.logs(), /degraded/)
    t.equal(await mounted.stop(), 0)
    const off = await boot(t, { env: { DISCOBOT_OVERLAY: 'off' } })
    t.match(off.logs(), /step=overlay .*none: DISCOBOT_OVERLAY is/)
    t.notMatch(off.logs(), /degraded/)
    t.equal(await off.stop(), 0)
  },
)
