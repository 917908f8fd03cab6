import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { execPath } from 'node:process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import type { AgentStatus } from '../status/status.js'
import { shortFolder, waitFor } from '../../test/lab/service-lab.js'

const MAIN = fileURLToPath(new URL('../main.js', import.meta.url))
const execute = promisify(execFile)

t.test(
  'an agent whose output nobody reads supervises, answers and stops, and its log is on disk',
  async (t) => {
    const folder = shortFolder(t)
    const data = join(folder, 'data')
    mkdirSync(join(folder, 'home'))
    // 20 MB of output, and then work.
    const work =
      'yes "a line that nobody reads, of some length" | head -n 450000; echo done flooding; exec sleep 600'
    const agent = spawn(execPath, [MAIN, 'run'], {
      env: {
        PATH: process.env['PATH'],
        HOME: join(folder, 'home'),
        DISCOBOT_DATA_DIR: data,
        DISCOBOT_PROXY: 'off',
        DISCOBOT_AGENT_COMMAND: JSON.stringify(['sh', '-c', work]),
        DISCOBOT_LOG_FILE_SIZE: '1MB',
      },
      cwd: folder,
      // Never read from.
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    t.teardown(() => agent.kill('SIGKILL'))
    const ended = new Promise((resolve) => agent.once('exit', (code) => resolve(code)))
    const socket = join(data, 'agent.sock')
    await waitFor('the agent', () => existsSync(socket))
    const ask = async (...args: string[]): Promise<string> =>
      (await execute(execPath, [MAIN, ...args], { env: { DISCOBOT_AGENT_SOCKET: socket } })).stdout
    const until = performance.now() + 60_000
    while (!(await ask('logs', '-n', '1', 'agent-api')).includes('done flooding'))
      if (performance.now() > until) throw new Error('the service could not write all it had to say')
    const status = JSON.parse(await ask('status', '--json')) as AgentStatus
    t.match(status.services, [{ name: 'agent-api', state: 'ready', restarts: 0 }])
    t.equal((await ask('logs', '-n', '5', 'agent-api')).split('\n').length, 6)
    agent.kill('SIGTERM')
    t.equal(await ended, 0)

    const logs = join(data, 'logs')
    t.strictSame(readdirSync(logs).sort(), [
      'agent-api.log',
      'agent-api.log.1',
      'agent-api.log.2',
      'agent.log',
    ])
    for (const name of readdirSync(logs)) {
      const { size, mode } = statSync(join(logs, name))
      t.ok(size < 2 * 1024 * 1024, `${name}: ${size} bytes`)
      t.equal(mode & 0o777, 0o640)
    }
    t.match(readFileSync(join(logs, 'agent-api.log'), 'utf8'), / agent-api stdout done flooding\n$/)
    const own = readFileSync(join(logs, 'agent.log'), 'utf8')
    t.match(own, /^\S+Z INFO {2}agent boot step /)
    t.match(own, / agent stopped exitCode=0 .*\n$/)
  },
)
