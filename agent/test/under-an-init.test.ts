import { dirname, join } from 'node:path'
import { execPath } from 'node:process'
import t from 'tap'
import { fetchStatus } from '../control/client.js'
import { NEEDS_ROOT } from '../../test/lab/booted.js'
import { BUILT, startIsolated } from '../../test/lab/isolated.js'

// The promise: under an init of the engine's, the image does what it does as process 1.

/** As tini does: hands signals on, and ends as its child does. */
const INIT = `trap 'kill -TERM $child' TERM
"$0" "$1" run & child=$!
wait $child; wait $child`

void t.test(
  'under another process 1 the image is the container that it is',
  { skip: NEEDS_ROOT },
  async (t) => {
    const project = dirname(BUILT)
    const container = await startIsolated(t, {
      prepare: `mkdir -p /opt/discobot
cp -r '${BUILT}' /opt/discobot/lib
cp '${join(project, 'package.json')}' /opt/discobot/
ln -s '${join(project, 'node_modules')}' /opt/discobot/node_modules`,
      env: { DISCOBOT_DOCKER: 'off' },
      command: ['/bin/sh', '-c', INIT, execPath, '/opt/discobot/lib/agent/main.js'],
    })
    await container.logged(/Discobot is up/)
    const status = await fetchStatus(`/proc/${container.pid}/root/run/discobot/agent.sock`)
    t.match(status, { phase: 'running', extra: { mode: 'container', dataDir: '/.data' } })
    t.not(status.pid, 1)
    // One piece: output comes as it is printed.
    const body = JSON.stringify({ shell: 'echo "$(id -un) $(pwd) $HTTPS_PROXY"' })
    const asked = `curl -sS localhost:3002/api/exec -H 'content-type: application/json' -d '${body}'`
    t.match((await container.exec(asked)).stdout, /discobot \/home\/discobot\/workspace http:\/\/127/)
    for (const path of ['/etc/profile.d/discobot-proxy.sh', '/workspace'])
      t.equal((await container.exec(`test -e ${path}`)).code, 0, path)
    const { stdout } = await container.exec(`'${execPath}' /opt/discobot/lib/agent/main.js healthcheck`)
    t.equal(stdout, 'healthy\n')
    const again = await container.exec(`'${execPath}' /opt/discobot/lib/agent/main.js run`)
    t.not(again.code, 0, 'a second one beside it is refused')
    t.match(again.stdout, /an agent with pid \d+ already answers/)
    t.equal(await container.stop(), 0)
  },
)
