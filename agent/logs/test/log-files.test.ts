import { execFileSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { systemClock } from '../../process/clock.js'
import { LogFiles, type LogFilesOptions } from '../log-files.js'
import type { LogEntry } from '../log-entry.js'
import { shortFolder, waitFor } from '../../../test/lab/service-lab.js'

const NEEDS_ROOT = process.getuid?.() === 0 ? false : 'needs root to mount a small disk; CI has it'

let seq = 0
const line = (text: string, service = 'web'): LogEntry => ({
  seq: (seq += 1),
  time: 0,
  service,
  stream: 'stdout',
  level: 'info',
  text,
})

function make(
  folder: string,
  more: Partial<LogFilesOptions> = {},
): { files: LogFiles; troubles: (string | undefined)[] } {
  const troubles: (string | undefined)[] = []
  const files = new LogFiles({
    folder,
    format: 'text',
    maxBytes: 2_000,
    files: 3,
    clock: systemClock,
    onTrouble: (reason) => troubles.push(reason),
    ...more,
  })
  return { files, troubles }
}

/** The last word of each line, the oldest first. */
function words(folder: string, service = 'web'): string[] {
  return ['.2', '.1', '']
    .map((age) => join(folder, `${service}.log${age}`))
    .filter((path) => existsSync(path))
    .flatMap((path) => readFileSync(path, 'utf8').trimEnd().split('\n'))
    .map((text) => text.split(' ').at(-1) ?? '')
}

t.test('each service has files of its own, by size and number, for owner and group', async (t) => {
  const folder = join(shortFolder(t), 'logs')
  const { files, troubles } = make(folder)
  files.keep(line('early'))
  t.notOk(existsSync(folder))
  await files.begin(undefined)
  files.keep(line('alone', 'other'))
  for (let i = 0; i < 500; i += 1) {
    files.keep(line(`n${i}`))
    if (i % 20 === 0) await new Promise(setImmediate)
  }
  await files.close()
  t.strictSame(readdirSync(folder).sort(), ['other.log', 'web.log', 'web.log.1', 'web.log.2'])
  t.equal(statSync(folder).mode & 0o777, 0o750)
  for (const name of readdirSync(folder)) t.equal(statSync(join(folder, name)).mode & 0o777, 0o640)
  const kept = words(folder)
  t.equal(kept.at(-1), 'n499')
  t.strictSame(
    kept,
    kept.map((_, index) => `n${500 - kept.length + index}`),
    'nothing is missing between the files, nothing twice',
  )
  t.strictSame(words(folder, 'other'), ['alone'])
  t.strictSame(troubles, [])

  const again = make(folder, { format: 'json', maxBytes: 1_000_000 })
  await again.files.begin(undefined)
  again.files.keep(line('later'))
  await again.files.close()
  const last = readFileSync(join(folder, 'web.log'), 'utf8').trimEnd().split('\n').at(-1) ?? ''
  t.match(JSON.parse(last), { service: 'web', stream: 'stdout', text: 'later' }, 'added to what was there')
})

t.test('no line is followed elsewhere, and no file where there should be none', async (t) => {
  const base = shortFolder(t)
  writeFileSync(join(base, 'precious'), 'kept')
  const folder = join(base, 'logs')
  mkdirSync(folder)
  symlinkSync(join(base, 'precious'), join(folder, 'web.log'))
  const { files, troubles } = make(folder)
  await files.begin(undefined)
  files.keep(line('led astray'))
  files.keep(line('fine', 'other'))
  await waitFor('the complaint', () => troubles.length > 0)
  await files.close()
  t.strictSame(troubles, ['ELOOP'])
  t.equal(readFileSync(join(base, 'precious'), 'utf8'), 'kept')
  t.strictSame(words(folder, 'other'), ['fine'])

  symlinkSync(base, join(base, 'elsewhere'))
  const led = make(join(base, 'elsewhere'))
  await led.files.begin(undefined)
  led.files.keep(line('x'))
  await led.files.close()
  t.match(led.files.trouble, /no folder of ours/)

  const none = make(join(base, 'none'), { files: 0 })
  await none.files.begin(undefined)
  none.files.keep(line('x'))
  await none.files.close()
  t.notOk(existsSync(join(base, 'none')))
})

t.test('a full disk costs lines, which are counted, and nothing else', { skip: NEEDS_ROOT }, async (t) => {
  const disk = shortFolder(t)
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k,mode=0700', 'tmpfs', disk])
  t.teardown(() => execFileSync('umount', [disk]))
  let now = 0
  const clock = { ...systemClock, now: () => now }
  const { files, troubles } = make(join(disk, 'logs'), { maxBytes: 1_000_000, clock })
  await files.begin(undefined)
  files.keep(line('before'))
  const ballast = join(disk, 'ballast')
  await waitFor('the first line', () => words(join(disk, 'logs'))[0] === 'before')
  t.throws(() => writeFileSync(ballast, Buffer.alloc(100_000)), { code: 'ENOSPC' })
  // The rest of the page that it has already takes some of them.
  for (let i = 0; i < 20; i += 1) files.keep(line(`${'x'.repeat(1_000)} lost`))
  await waitFor('the complaint', () => troubles.length > 0)
  t.equal(files.trouble, 'ENOSPC')
  files.keep(line('lost too: no use in asking again so soon'))
  rmSync(ballast)
  now += 2_000
  files.keep(line('after'))
  await waitFor('relief', () => troubles.length > 1)
  await files.close()
  t.strictSame(troubles, ['ENOSPC', undefined])
  const text = readFileSync(join(disk, 'logs/web.log'), 'utf8')
  t.match(text, /before\n/)
  const lost = Number(/\n… (\d+) lines were lost here\n.* after\n$/.exec(text)?.[1])
  const whole = text.split('\n').filter((kept) => /x{1000} lost$/.test(kept)).length
  t.equal(whole + lost, 21, 'every line is there or counted')
})
