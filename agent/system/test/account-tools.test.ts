import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ChildRegistry } from '../../process/children.js'
import { accountTools } from '../account-tools.js'
import { commandRunner } from '../command.js'
import { isUidTaken, readAccount, readGroup } from '../accounts.js'

const run = commandRunner(new ChildRegistry())
const signal = new AbortController().signal

/** A PATH of programs that put on record how they were called. */
function recorded(root: string, programs: readonly string[]): { readonly path: string; calls(): string[] } {
  const path = join(root, 'bin')
  const record = join(root, 'record')
  mkdirSync(path)
  for (const name of programs) {
    writeFileSync(join(path, name), `#!/bin/sh\necho ${name} "$@" >> ${record}\n`, { mode: 0o755 })
  }
  return { path, calls: () => readFileSync(record, 'utf8').trim().split('\n') }
}

async function useAll(path: string): Promise<void> {
  const tools = accountTools(run, signal, path)
  await tools.systemAccount('sys')
  await tools.personalAccount('ada', '/home/ada', 1000)
  await tools.personalAccount('bob', '/home/bob', undefined)
  await tools.group('docker')
  await tools.member('ada', 'docker')
}

void t.test("accounts are made with shadow's tools where they are", async (t) => {
  const { path, calls } = recorded(t.testdir(), ['useradd', 'groupadd', 'usermod', 'adduser', 'addgroup'])
  await useAll(path)
  t.strictSame(calls(), [
    'useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin sys',
    'useradd --user-group --create-home --home-dir /home/ada --shell /bin/bash --uid 1000 ada',
    'useradd --user-group --create-home --home-dir /home/bob --shell /bin/bash bob',
    'groupadd --system docker',
    'usermod --append --groups docker ada',
  ])
})

void t.test("and with busybox's otherwise", async (t) => {
  const { path, calls } = recorded(t.testdir(), ['adduser', 'addgroup'])
  await useAll(path)
  t.strictSame(calls(), [
    'addgroup -S sys',
    'adduser -S -D -H -h /nonexistent -s /sbin/nologin -G sys sys',
    'adduser -D -h /home/ada -s /bin/sh -u 1000 ada',
    'adduser -D -h /home/bob -s /bin/sh bob',
    'addgroup -S docker',
    'addgroup ada docker',
  ])
})

void t.test('what exists already is read from the files', async (t) => {
  const root = t.testdir({
    etc: {
      passwd: 'root:x:0:0:root:/root:/bin/sh\nada:x:1000:1001::/home/ada:/bin/sh\n',
      group: 'docker:x:106:ada,bob\nempty:x:107:\n',
    },
  })
  t.match(await readAccount(root, 'ada'), { uid: 1000, gid: 1001, home: '/home/ada' })
  t.equal(await readAccount(root, 'ad'), undefined)
  t.equal(await isUidTaken(root, 1000), true)
  t.equal(await isUidTaken(root, 100), false)
  t.strictSame(await readGroup(root, 'docker'), { name: 'docker', gid: 106, members: ['ada', 'bob'] })
  t.strictSame((await readGroup(root, 'empty'))?.members, [])
  t.equal(await readGroup(t.testdir(), 'docker'), undefined)
})
