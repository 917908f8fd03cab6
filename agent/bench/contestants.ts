import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** A process 1 that is to keep three services. */
export interface Contestant {
  readonly name: string
  /** Debian's package; absent for ours. */
  readonly packageName?: string
  readonly command: readonly [string, ...string[]]
  readonly env: Readonly<Record<string, string>>
  /** Writes what it needs into its folder, which is `/.data` inside. */
  readonly arrange: (folder: string) => void
  /** Shell text run inside before it starts. */
  readonly prepare: string
}

export const SERVICES = ['a', 'b', 'c'] as const

/** A service with a tenth of a second of work to do when it is told to end. */
const SERVICE = `#!/bin/sh
trap 'sleep 0.1; : >"/.data/ended-$1"; kill "$!"; exit 0' TERM
: >"/.data/up-$1"
while :; do sleep 1000 & wait "$!"; done
`

/** What people write: everything in the background, and the signal passed on. */
const SCRIPT = `#!/bin/sh
pids=
for name in ${SERVICES.join(' ')}; do /.data/service "$name" & pids="$pids $!"; done
trap 'kill -TERM $pids; wait' TERM
wait
`

const SUPERVISORD = `[supervisord]
nodaemon=true
user=root
logfile=/dev/null
logfile_maxbytes=0
pidfile=/run/supervisord.pid
${SERVICES.map((name) => `[program:${name}]\ncommand=/.data/service ${name}\nstartsecs=0\n`).join('')}`

/** @param installed shell text that installs ours. */
export function contestants(node: string, agent: string, installed: string): readonly Contestant[] {
  const service = (folder: string): void => script(join(folder, 'service'), SERVICE)
  return [
    {
      name: 'discobot',
      command: [node, agent, 'run'],
      env: { DISCOBOT_PROXY: 'off', DISCOBOT_DOCKER: 'off' },
      arrange: service,
      prepare: `${installed}mkdir -p /etc/discobot/services.d
cat >/etc/discobot/services.d/bench.yaml <<'END'
services:
${SERVICES.map((name) => `  ${name}: { command: [/.data/service, ${name}], user: root }`).join('\n')}
END
`,
    },
    {
      name: 'tini + script',
      packageName: 'tini',
      command: ['tini', '--', '/.data/start'],
      env: {},
      arrange: (folder) => {
        service(folder)
        script(join(folder, 'start'), SCRIPT)
      },
      prepare: '',
    },
    {
      name: 's6',
      packageName: 's6',
      command: ['s6-svscan', '/.data/scan'],
      env: {},
      arrange: (folder) => {
        service(folder)
        for (const name of SERVICES) {
          mkdirSync(join(folder, 'scan', name), { recursive: true })
          script(join(folder, 'scan', name, 'run'), `#!/bin/sh\nexec /.data/service ${name}\n`)
        }
        mkdirSync(join(folder, 'scan/.s6-svscan'))
        script(join(folder, 'scan/.s6-svscan/finish'), '#!/bin/sh\nexit 0\n')
      },
      prepare: '',
    },
    {
      name: 'supervisord',
      packageName: 'supervisor',
      command: ['supervisord', '-c', '/.data/supervisord.conf'],
      env: {},
      arrange: (folder) => {
        service(folder)
        writeFileSync(join(folder, 'supervisord.conf'), SUPERVISORD)
      },
      prepare: '',
    },
  ]
}

function script(path: string, text: string): void {
  writeFileSync(path, text, { mode: 0o755 })
}
