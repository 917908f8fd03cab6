import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { silentLogger } from '../../../base/log/logger.js'
import { overlayOptions } from '../overlay-layers.js'
import { SessionOverlay } from '../session-overlay.js'
import { tryOverlay } from '../trial.js'
import { loadMountCalls, type MountCalls } from '../../system/mount-calls.js'
import { mountsWithin, parseMountTable } from '../../system/mount-table.js'
import { NEEDS_ROOT } from '../../../test/lab/booted.js'
import { BUILT } from '../../../test/lab/isolated.js'

interface Scope {
  teardown(clean: () => Promise<void> | void): void
}

const never = new AbortController().signal

interface Place {
  readonly calls: MountCalls
  readonly base: string
  readonly home: string
  view(sessionId: string): SessionOverlay
  read(name: string): string
  write(name: string, text: string): void
  isMounted(): boolean
}

/** On this machine's own mount table, below a folder whose name has all that options could trip over. */
async function makePlace(t: Scope): Promise<Place> {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'discobot-overlay-')))
  const calls = await loadMountCalls()
  const place = join(folder, 'a:b,c\\d e')
  const base = join(place, 'layers', 'base')
  const home = join(place, 'home')
  mkdirSync(base, { recursive: true })
  mkdirSync(home)
  writeFileSync(join(base, 'kept'), 'of the base')
  writeFileSync(join(base, 'doomed'), 'of the base')
  const isMounted = (): boolean => mountsAt(home).length > 0
  t.teardown(() => {
    while (isMounted()) calls.unmount(home, 'detach')
    rmSync(folder, { recursive: true, force: true })
  })
  return {
    calls,
    base,
    home,
    view: (sessionId) =>
      new SessionOverlay({ calls, base, rename: true, home, sessionId, logger: silentLogger }),
    read: (name) => readFileSync(join(home, name), 'utf8'),
    write: (name, text) => writeFileSync(join(home, name), text),
    isMounted,
  }
}

function mountsAt(folder: string): string[] {
  const mounts = parseMountTable(readFileSync('/proc/self/mountinfo', 'utf8'))
  return mountsWithin(mounts, folder).map(({ source }) => source)
}

void t.test('the mount table is read with its escapes', (t) => {
  const text = [
    String.raw`36 35 98:0 / /mnt\040with\011tab rw,noatime shared:1 - ext4 /dev/root\134x rw`,
    '37 36 0:50 / /mnt/below rw - overlay discobot-session-a rw,lowerdir=/x - y',
    '38 36 0:51 / /mntal rw - tmpfs tmpfs rw',
    '',
  ].join('\n')
  t.strictSame(parseMountTable(text), [
    { target: '/mnt with\ttab', type: 'ext4', source: String.raw`/dev/root\x` },
    { target: '/mnt/below', type: 'overlay', source: 'discobot-session-a' },
    { target: '/mntal', type: 'tmpfs', source: 'tmpfs' },
  ])
  t.strictSame(
    mountsWithin(parseMountTable(text), '/mnt').map(({ target }) => target),
    ['/mnt/below'],
  )
  t.end()
})

void t.test('what parts options and layers is escaped', (t) => {
  const options = overlayOptions({ lower: '/a:b', upper: '/c,d', work: String.raw`/e\f` }, false)
  t.match(options, String.raw`lowerdir=/a\:b,upperdir=/c\,d,workdir=/e\\f,index=off`)
  t.end()
})

void t.test('a new session sees the base, an old one its changes', { skip: NEEDS_ROOT }, async (t) => {
  const { base, view, read, write, home, isMounted } = await makePlace(t)
  const first = view('one')
  t.equal(await first.mount(never), 'session one, new')
  t.equal(read('kept'), 'of the base')
  write('kept', 'of session one')
  write('added', 'by session one')
  rmSync(join(home, 'doomed'))
  t.equal(statSync(join(base, '..')).mode & 0o777, 0o700, 'only root gets at the layers')
  first.release()
  t.notOk(isMounted())

  const second = view('two')
  t.equal(await second.mount(never), 'session two, new')
  t.equal(read('kept'), 'of the base')
  t.equal(read('doomed'), 'of the base')
  t.notOk(existsSync(join(home, 'added')))
  second.release()

  const again = view('one')
  t.equal(await again.mount(never), 'session one, with its changes')
  t.equal(read('kept'), 'of session one')
  t.equal(read('added'), 'by session one')
  t.notOk(existsSync(join(home, 'doomed')))
  again.release()
  t.notOk(isMounted())
  t.equal(readFileSync(join(base, 'kept'), 'utf8'), 'of the base')
})

void t.test(
  'a session is held by one agent; one that was killed leaves nothing that a restart trips over',
  { skip: NEEDS_ROOT },
  async (t) => {
    const { base, home, view, isMounted } = await makePlace(t)
    const holder = spawn(
      process.execPath,
      [join(BUILT, 'agent/overlay/test/mount-session.js'), base, home, 'one'],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    )
    t.teardown(() => void holder.kill('SIGKILL'))
    await once(holder.stdout, 'data')
    await t.rejects(view('one').mount(never), {
      code: 'OVERLAY_UNAVAILABLE',
      message: /another agent on this data dir has it; name another DISCOBOT_SESSION_ID/,
    })
    const ended = once(holder, 'exit')
    holder.kill('SIGKILL')
    await ended
    t.strictSame(mountsAt(home), ['discobot-session-one'], 'left behind')

    const same = view('one')
    t.equal(await same.mount(never), 'session one, mounted already')
    t.equal(mountsAt(home).length, 1, 'not twice')
    // The agent is killed once more, and the next one is of another session.
    const other = view('two')
    t.equal(await other.mount(never), 'session two, new')
    t.strictSame(mountsAt(home), ['discobot-session-two'])
    other.release()
    t.notOk(isMounted())
    same.release()
  },
)

void t.test(
  'a stop in the middle mounts nothing, and one with somebody inside still unmounts',
  { skip: NEEDS_ROOT },
  async (t) => {
    const { view, home, isMounted } = await makePlace(t)
    const stopped = view('one')
    await t.rejects(stopped.mount(AbortSignal.abort(new Error('a stop was asked for'))), {
      message: /a stop was asked for/,
    })
    t.notOk(isMounted())
    const overlay = view('one')
    await overlay.mount(never)
    const guest = spawn('sleep', ['60'], { cwd: home, stdio: 'ignore' })
    const ended = once(guest, 'exit')
    await once(guest, 'spawn')
    overlay.release()
    t.notOk(isMounted())
    guest.kill('SIGKILL')
    await ended
  },
)

void t.test(
  'folders of the base can be renamed, and stay so in the next mount',
  { skip: NEEDS_ROOT },
  async (t) => {
    const { base, view, home, read } = await makePlace(t)
    mkdirSync(join(base, 'src/lib'), { recursive: true })
    writeFileSync(join(base, 'src/lib/file'), 'of the base')
    writeFileSync(join(base, 'src/other'), 'of the base')
    const first = view('one')
    await first.mount(never)
    renameSync(join(home, 'src/lib'), join(home, 'src/library'))
    renameSync(join(home, 'src'), join(home, 'source'))
    writeFileSync(join(home, 'source/library/new'), 'of the session')
    t.equal(read('source/library/file'), 'of the base')
    first.release()

    // What was fetched into the base meanwhile.
    writeFileSync(join(base, 'later'), 'later')
    const again = view('one')
    await again.mount(never)
    t.strictSame(readdirSync(join(home, 'source/library')).sort(), ['file', 'new'])
    t.equal(read('source/other'), 'of the base')
    t.equal(read('later'), 'later')
    t.notOk(existsSync(join(home, 'src')))
    again.release()
    const other = view('two')
    await other.mount(never)
    t.equal(read('src/lib/file'), 'of the base', 'another session has it as it was')
    other.release()
  },
)

const PASSED = { works: true, rename: true }

void t.test('a trial tells where overlays work, and leaves no mount', { skip: NEEDS_ROOT }, async (t) => {
  const { calls, base, view, home } = await makePlace(t)
  t.strictSame(tryOverlay(base, calls), PASSED)
  const scratch = (): string[] => readdirSync(base).filter((name) => name.startsWith('.overlay-trial'))
  t.strictSame(scratch(), ['.overlay-trial-renames'], 'what has passed stays')
  t.strictSame(tryOverlay(base, calls), PASSED, 'and passes again')
  // As if this kernel showed again what another has deleted.
  rmSync(join(base, '.overlay-trial-renames/upper'), { recursive: true })
  mkdirSync(join(base, '.overlay-trial-renames/upper'))
  t.strictSame(tryOverlay(base, calls), PASSED, 'what has come back is tried anew')
  t.ok(existsSync(join(base, '.overlay-trial-renames/upper/file')), 'with the mark of what was deleted')
  t.strictSame(scratch(), ['.overlay-trial-renames'])
  const overlay = view('one')
  await overlay.mount(never)
  t.strictSame(
    tryOverlay(home, calls),
    { reason: 'the file system there cannot hold one' },
    'an overlay on an overlay',
  )
  overlay.release()
  const refusing: MountCalls = {
    ...calls,
    mount: () => calls.mount('x', '/proc/absent', 'overlay', ''),
  }
  t.match(tryOverlay(base, refusing), { reason: /^cannot mount overlay on \/proc\/absent: E/ })
  t.strictSame(scratch(), [], 'nothing stays of what has not passed')
  t.strictSame(mountsAt(base), [])
})
