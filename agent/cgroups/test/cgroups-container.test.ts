import { rmdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { AgentStatus } from '../../status/status.js'
import { BUILT, startIsolated } from '../../../test/lab/isolated.js'

const NEEDS_ROOT =
  process.getuid?.() === 0 ? false : 'needs root for namespaces and control groups; CI has it'
const NAME = `discobot-test-${process.pid}`

/**
 * Moves process 1 of the container into a group of its own in a version 2 hierarchy, as a container engine would
 * have done: where the machine has one beside version 1 (`unified`), and otherwise in the machine's only one.
 */
const OWN_GROUP = `
tree=$(awk '$9 == "cgroup2" || $10 == "cgroup2" { print $5; exit }' /proc/self/mountinfo)
[ -e "$tree/cgroup.events" ] || { mkdir "$tree/${NAME}"; echo 1 >"$tree/${NAME}/cgroup.procs"; echo "own group $tree/${NAME}"; }
cat >/usr/local/bin/leaves-daemon <<'END'
#!/bin/sh
env -i setsid sh -c 'trap "" TERM; echo $$ >/tmp/daemon; while :; do /bin/sleep 0.05; done' >/dev/null 2>&1 &
exec sleep 1000
END
chmod 755 /usr/local/bin/leaves-daemon
mkdir -p /etc/discobot/services.d
echo 'services: { leaver: { command: leaves-daemon, readiness: { file: /tmp/daemon } } }' >/etc/discobot/services.d/a.yaml
`

t.test(
  'in a container each service has its group, and what hides from its mark ends with it',
  { skip: NEEDS_ROOT },
  async (t) => {
    const container = await startIsolated(t, {
      env: { DISCOBOT_DOCKER: 'off', DISCOBOT_PROXY: 'off' },
      prepare: OWN_GROUP,
    })
    await container.logged(/Discobot is up/)
    const own = /own group (\S+)/.exec(container.logs())?.[1]
    const agent = `'${process.execPath}' '${join(BUILT, 'agent/main.js')}'`
    const status = JSON.parse((await container.exec(`${agent} status --json`)).stdout) as AgentStatus
    t.match(status.extra, {
      cgroups: /^v2 in .*\/discobot-services$/,
      commandGroups: /^v2 in .*\/discobot-services\/agent-api$/,
    })
    t.match(status.services, [
      { name: 'agent-api', state: 'ready' },
      { name: 'leaver', state: 'ready' },
    ])
    // As a zombie it may still be there for a moment.
    const alive = 'grep -Eq "^State:.[RSD]" /proc/$(cat /tmp/daemon)/status'
    t.equal((await container.exec(alive)).code, 0)
    t.equal((await container.exec(`${agent} stop leaver`)).stdout, 'leaver is stopped\n')
    t.not((await container.exec(alive)).code, 0, 'the daemon is gone')
    const leaves = `env -i setsid sh -c 'trap "" TERM; echo $$ >/tmp/daemon; while :; do /bin/sleep 0.05; done' >/dev/null 2>&1 &
while [ ! -s /tmp/daemon ]; do sleep 0.05; done; id -un`
    await container.exec('rm -f /tmp/daemon')
    const body = JSON.stringify({ shell: leaves }).replaceAll("'", String.raw`'\''`)
    const asked = `curl -sS localhost:3002/api/exec -H 'content-type: application/json' -d '${body}'`
    t.match((await container.exec(asked)).stdout, /"discobot\\n".*\n.*"exit":{"code":0/s)
    t.not((await container.exec(alive)).code, 0, 'nor does a command leave one')
    t.equal(await container.stop(), 0)
    t.match(container.logs(), /stopped .*killed=none/)
    if (own !== undefined) rmdirSync(own)
  },
)
