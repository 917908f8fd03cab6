import { mkdirSync, readdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { WebSocket } from 'ws'
import { readStat } from '../../process/proc-stat.js'
import {
  ask,
  askJson,
  jsonAsking,
  open,
  repository,
  startApi,
  type Api,
} from '../../../test/lab/api-process.js'
import { waitFor } from '../../../test/lab/service-lab.js'

/** Files that a process holds open, connections of HTTP left out: those may be kept alive. */
function openFiles(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`)
    .flatMap((fd) => {
      try {
        return [readlinkSync(`/proc/${pid}/fd/${fd}`)]
      } catch {
        // The one that this very listing has opened.
        return []
      }
    })
    .filter((name) => !name.startsWith('socket:'))
    .sort()
}

function children(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .split(' ')
    .filter((text) => text !== '')
    .map(Number)
    .filter((child) => readStat(child)?.state !== undefined)
}

/** Each kind of request, done well, refused, and broken off in the middle. */
async function round(api: Api, number: number): Promise<void> {
  const { port } = api
  const name = `file-${number}`
  const leave = async (path: string, asking = {}): Promise<void> => {
    const { asked, answer } = await open(port, path, asking)
    answer.on('error', () => {})
    asked.destroy()
  }
  await Promise.all([
    askJson(port, '/api/exec', { shell: 'echo a; sleep 100 & echo b >&2', stdin: 'x' }),
    askJson(port, '/api/exec', { argv: ['no-such-program'] }),
    askJson(port, '/api/exec', { shell: 'exec sleep 100', timeoutMs: 50 }),
    leave('/api/exec', jsonAsking({ shell: 'yes | head -c 10000000; sleep 100' })),
    ask(port, `/api/files?path=deep/er/${name}&parents=true`, { method: 'PUT', body: 'x'.repeat(300_000) }),
    ask(port, `/api/files?path=out/${name}&parents=true`, { method: 'PUT', body: 'x' }),
    ask(port, '/api/files?path=large', { headers: { range: 'bytes=5-9' } }),
    ask(port, '/api/files?path=large', { headers: { range: 'bytes=99999999-' } }),
    leave('/api/files?path=large'),
    ask(port, '/api/files?path=deep'),
    ask(port, '/api/files?path=deep/none/at/all'),
    ask(port, '/api/git/status'),
    ask(port, '/api/git/diff?base=none'),
    ask(port, '/api/status'),
    terminal(port, (socket) => socket.send('{"input":"exit\\n"}')),
    terminal(port, (socket) => socket.terminate()),
    terminal(port, (socket) => socket.send('neither')),
  ])
  await ask(port, `/api/files?path=deep&recursive=true`, { method: 'DELETE' })
}

function terminal(port: number, act: (socket: WebSocket) => void): Promise<void> {
  return new Promise((resolve) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/api/terminal`)
    socket.on('error', () => {})
    socket.once('open', () => act(socket))
    socket.once('close', () => resolve())
  })
}

t.test('whatever becomes of requests, no file and no process of theirs stays', async (t) => {
  const root = t.testdir()
  const workspace = repository(join(root, 'workspace'))
  mkdirSync(join(root, 'outside'))
  symlinkSync('../outside', join(workspace, 'out'))
  writeFileSync(join(workspace, 'large'), Buffer.alloc(8 * 1024 * 1024))
  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: workspace })
  const pid = api.child.pid ?? 0
  const settled = (): Promise<unknown> => waitFor('all processes to end', () => children(pid).length === 0)
  // The first round loads what is loaded late.
  await round(api, 0)
  await settled()
  const before = openFiles(pid)
  for (let number = 1; number <= 10; number += 1) await round(api, number)
  await settled()
  await waitFor('all files to be closed', () => openFiles(pid).length <= before.length)
  t.same(openFiles(pid), before)
  t.same(readdirSync(join(root, 'outside')), [])
  t.notOk(readdirSync(workspace).some((name) => name.endsWith('.tmp')))
  t.equal((await ask(api.port, '/health')).status, 200)
})
