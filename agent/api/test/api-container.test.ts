import { execPath } from 'node:process'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { startIsolated } from '../../../test/lab/isolated.js'

const NEEDS_ROOT = process.getuid?.() === 0 ? false : 'needs root, for namespaces and mounts'
const UP = /Discobot is up.*Try next.*\n\n/s
const WS = fileURLToPath(import.meta.resolve('ws'))

const SERVICES = 'services: { ticker: { command: ["sh", "-c", "echo started; exec sleep 1000"] } }'

/** Types a line into a terminal of the API, and prints what comes of it. */
const TERMINAL = `import('${WS}').then(({ WebSocket }) => {
  const socket = new WebSocket('ws://127.0.0.1:3002/api/terminal?cols=77')
  socket.on('open', () => socket.send(JSON.stringify({ input: 'stty size; id -un; tty; exit 5\\\\n' })))
  socket.on('message', (data) => process.stdout.write(data.toString()))
})`

t.test(
  'in a container the API does everything as the user of the workspace',
  { skip: NEEDS_ROOT },
  async (t) => {
    const prepare = `mkdir -p /srv/project/.discobot; echo '${SERVICES}' > /srv/project/.discobot/services.yaml`
    const env = { DISCOBOT_PROXY: 'off', DISCOBOT_DOCKER: 'off', DISCOBOT_WORKSPACE: '/srv/project' }
    const container = await startIsolated(t, { prepare, env })
    await container.logged(UP)
    const ask = async (what: string): Promise<string> => {
      const { stdout, stderr } = await container.exec(`curl -sS --max-time 30 'http://127.0.0.1:3002${what}`)
      return stdout + stderr
    }
    const exec = async (shell: string): Promise<string> => {
      const answer = await ask(
        `/api/exec' -H 'content-type: application/json' -d '${JSON.stringify({ shell })}'`,
      )
      const events = answer.trim().split('\n')
      return events.map((event) => (JSON.parse(event) as { data?: string }).data ?? '').join('')
    }

    const said = await exec('id -un; pwd; grep CapEff /proc/self/status')
    t.equal(said, 'discobot\n/home/discobot/workspace\nCapEff:\t0000000000000000\n')

    t.match(await ask(`/api/files?path=new' -T /etc/hostname`), '"type":"file"')
    const { stdout } = await container.exec('stat -c "%U %a" /workspace/new')
    t.equal(stdout, 'discobot 644\n')

    // A service without a check is ready once it runs, maybe before its first line has been read.
    const logOf = async (starts: number): Promise<string> => {
      for (const end = Date.now() + 30_000; ; await setTimeout(100)) {
        const log = await ask(`/api/services/ticker/logs?once=true'`)
        if ([...log.matchAll(/"text":"started"/g)].length >= starts || Date.now() > end) return log
      }
    }
    t.match(await logOf(1), /id: \d+\ndata: .*"text":"started"/)
    t.match(await ask(`/api/services/ticker/restart' -X POST`), /"name":"ticker","state":"ready"/)
    t.equal([...(await logOf(2)).matchAll(/"text":"started"/g)].length, 2)

    // The agent's token lets the API, and nobody else of the same account, change services.
    const direct = await container.exec(
      'curl -sS -X POST --unix-socket /run/discobot/agent.sock http://localhost/services/ticker/restart',
      { user: 'discobot' },
    )
    t.match(direct.stdout, /"status":403/)
    t.match(await exec('env; ls -l /proc/self/fd'), /DISCOBOT_COMMAND/)
    t.notMatch(await exec('env'), /DISCOBOT_CONTROL_TOKEN/)

    const terminal = await container.exec(`'${execPath}' -e "${TERMINAL.replaceAll('"', '\\"')}"`)
    t.match(terminal.stdout, /24 77\r\ndiscobot\r\n\/dev\/pts\/\d+\r\n/, terminal.stderr)
    t.match(terminal.stdout, '{"exit":{"code":5,"signal":null,"reason":"ended"}}')
    t.equal(await container.stop(), 0)
  },
)
