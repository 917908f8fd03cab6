import { readFileSync } from 'node:fs'
import { request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { WebSocket } from 'ws'
import { silentLogger } from '../../../base/log/logger.js'
import { startControlServer } from '../../control/server.js'
import { readStat } from '../../process/proc-stat.js'
import { LogStore } from '../../logs/log-store.js'
import { ask, repository, startApi } from '../../../test/lab/api-process.js'
import { shortFolder, waitFor } from '../../../test/lab/service-lab.js'

// What a client has asked for ends when it leaves, also where its answer was not yet anybody's turn.

function children(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .split(' ')
    .filter((text) => text !== '')
    .map(Number)
    .filter((child) => readStat(child)?.state !== undefined)
}

function raw(target: { port: number; host: string } | { path: string }, text: string): Socket {
  const socket = connect({ ...target, allowHalfOpen: true }).on('error', () => undefined)
  socket.write(text)
  return socket.resume()
}

t.test('commands that wait in a pipeline end with their client, and give their places back', async (t) => {
  const workspace = repository(join(t.testdir(), 'workspace'))
  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: workspace })
  const pid = api.child.pid ?? 0
  const body = JSON.stringify({ argv: ['sleep', '1000'] })
  const asking =
    `POST /api/exec HTTP/1.1\r\nHost: 127.0.0.1:${api.port}\r\nContent-Type: application/json\r\n` +
    `Content-Length: ${body.length}\r\n\r\n${body}`
  for (let round = 0; round < 3; round += 1) {
    const client = raw({ port: api.port, host: '127.0.0.1' }, asking.repeat(4))
    await waitFor('four commands', () => children(pid).length === 4)
    if (round % 2 === 0) client.resetAndDestroy()
    else client.destroy()
    await waitFor('all commands to end', () => children(pid).length === 0)
  }
  t.equal((await ask(api.port, '/health')).status, 200)
})

t.test('a terminal whose client leaves before it is open gives its place back', async (t) => {
  const workspace = repository(join(t.testdir(), 'workspace'))
  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: workspace })
  const pid = api.child.pid ?? 0
  const handshake =
    `GET /api/terminal HTTP/1.1\r\nHost: 127.0.0.1:${api.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
    'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n'
  const target = { port: api.port, host: '127.0.0.1' }
  // More than may be open at a time.
  for (let round = 0; round < 40; round += 1) {
    const clients = [raw(target, handshake), raw(target, handshake)]
    const [ends, resets] = clients
    ends?.end()
    resets?.once('connect', () => setImmediate(() => resets.resetAndDestroy()))
    await Promise.all(
      clients.map((client) => new Promise<void>((resolve) => client.once('close', () => resolve()))),
    )
  }
  await waitFor('all terminals to end', () => children(pid).length === 0)
  const socket = new WebSocket(`ws://127.0.0.1:${api.port}/api/terminal`)
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
  socket.terminate()
  await waitFor('the terminal to end', () => children(pid).length === 0)
})

t.test('those who follow the log in a pipeline are let go of with their connection', async (t) => {
  const socketPath = join(shortFolder(t), 'control.sock')
  const logs = new LogStore({ maxBytesPerService: 1_000 })
  const actions = {
    logs,
    status: () => ({ services: [] }) as never,
    change: () => Promise.reject(new Error('no services')),
    guards: () => false,
    signal: () => false,
    reload: () => Promise.reject(new Error('nothing to read')),
  }
  const server = await startControlServer({
    socketPath,
    logger: silentLogger,
    ownUid: process.getuid?.() ?? -1,
    actions,
  })
  t.teardown(() => server.close())
  const follow = 'GET /logs?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n'
  const status = (hold: AbortSignal): Promise<number> =>
    new Promise((resolve, reject) => {
      const asked = request({ socketPath, path: '/logs?follow=1', agent: false, signal: hold }, (answer) => {
        answer.on('error', () => undefined).resume()
        resolve(answer.statusCode ?? 0)
      })
      asked.once('error', reject)
      asked.end()
    })
  for (let round = 0; round < 20; round += 1) {
    const client = raw({ path: socketPath }, follow.repeat(10))
    await new Promise((resolve) => client.once('data', resolve))
    client.destroy()
  }
  // All that may follow, at once.
  const allFollow = async (): Promise<boolean> => {
    const hold = new AbortController()
    const statuses = await Promise.all(Array.from({ length: 32 }, () => status(hold.signal)))
    hold.abort()
    return statuses.every((one) => one === 200)
  }
  let seen = false
  for (let tries = 0; !seen && tries < 100; tries += 1) seen = await allFollow()
  t.ok(seen)
})
