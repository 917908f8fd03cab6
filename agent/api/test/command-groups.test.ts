import { chmodSync, existsSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { execPath } from 'node:process'
import t from 'tap'
import { WebSocket } from 'ws'
import type { Hierarchy } from '../../cgroups/find-hierarchy.js'
import { serviceGroupsIn, type ServiceGroups } from '../../cgroups/service-groups.js'
import { API_MAIN, askJson, jsonAsking, open } from '../../../test/lab/api-process.js'
import { obstacle, running, testGroup } from '../../../test/lab/hierarchy-lab.js'
import { makeLab, shell, shortFolder, waitFor } from '../../../test/lab/service-lab.js'

// The promise: nothing that a command or terminal has started is left when it ends or its client leaves, although the
// agent API is no root.

interface Scope {
  teardown(fn: () => unknown): unknown
}

interface GroupedApi {
  readonly port: number
  readonly groups: ServiceGroups
  readonly workspace: string
  /** Folders of the groups of commands that there are. */
  commandGroups(): string[]
}

/** The agent API as process 1 starts it: as another account, in a group that is delegated to it. */
async function groupedApi(t: Scope, hierarchy: Hierarchy): Promise<GroupedApi> {
  const groups = serviceGroupsIn(hierarchy)
  // tap cleans up in reverse order: once the service has been stopped.
  t.teardown(() => groups.remove())
  const lab = makeLab(t, { groups })
  const workspace = shortFolder(t)
  chmodSync(workspace, 0o777)
  const env = {
    PATH: '/usr/local/bin:/usr/bin:/bin',
    DISCOBOT_AGENT_PORT: '0',
    DISCOBOT_PROXY_API_PORT: '1',
    DISCOBOT_WORKSPACE_PATH: workspace,
  }
  const command = [execPath, API_MAIN] as const
  lab.supervisor.add(shell('agent-api', '', { command, env, user: 'nobody', delegated: true }))
  await lab.supervisor.start('agent-api')
  const ready = /agent API ready port=(\d+)/
  const port = await waitFor('its port', () => ready.exec(lab.said('agent-api').join('\n'))?.[1])
  const own = join(hierarchy.folder, 'discobot-services', 'agent-api')
  return {
    port: Number(port),
    groups,
    workspace,
    commandGroups: () => readdirSync(own).filter((name) => name.startsWith('command-')),
  }
}

/** Its own session, an environment without our mark, deaf, and it forks all the time. */
function daemon(word: string): string {
  const forks = `trap "" TERM HUP; : >begun; while :; do sh -c "sleep 0.2; :" ${word} & sleep 0.005; done`
  return `env -i PATH="$PATH" setsid sh -c '${forks}' ${word} >/dev/null 2>&1 </dev/null &`
}

async function isGone(word: string, api: GroupedApi): Promise<void> {
  await waitFor('its end', () => running(word).length === 0)
  await waitFor('the end of its group', () => api.commandGroups().length === 0)
}

for (const kind of ['v2', 'v1'] as const) {
  void t.test(`${kind}: what a command leaves behind ends with it`, { skip: obstacle(kind) }, async (t) => {
    const api = await groupedApi(t, testGroup(t, kind))
    t.match(api.groups.delegationOf('agent-api'), new RegExp(`^${kind} in .*/agent-api$`))
    const word = `left-${kind}-${process.pid}`

    const shellText = `${daemon(word)} echo begun; exec sleep 1000`
    const { asked, answer } = await open(api.port, '/api/exec', jsonAsking({ shell: shellText }))
    answer.on('error', () => undefined)
    await waitFor('its daemon', () => running(word).length > 2)
    t.equal(api.commandGroups().length, 1)
    asked.destroy()
    await isGone(word, api)

    const ended = await askJson(api.port, '/api/exec', {
      shell: `rm -f begun; ${daemon(word)} until [ -e begun ]; do sleep 0.01; done; exit 3`,
    })
    t.match(ended.body, /"exit":{"code":3,"signal":null,"reason":"ended"}/)
    t.strictSame(running(word), [], 'gone before its end is told')

    const late = await askJson(api.port, '/api/exec', { shell: `${daemon(word)} sleep 1000`, timeoutMs: 300 })
    t.match(late.body, /"reason":"timed-out"/)
    t.strictSame(running(word), [])
    await isGone(word, api)
  })

  void t.test(`${kind}: what a terminal leaves behind ends with it`, { skip: obstacle(kind) }, async (t) => {
    const api = await groupedApi(t, testGroup(t, kind))
    const word = `terminal-${kind}-${process.pid}`
    const socket = new WebSocket(`ws://127.0.0.1:${api.port}/api/terminal`)
    socket.on('error', (error) => t.fail(error.message))
    await new Promise((resolve) => socket.once('open', resolve))
    socket.send(JSON.stringify({ input: `${daemon(word)}\n` }))
    await waitFor('its daemon', () => running(word).length > 2)
    socket.terminate()
    await isGone(word, api)
  })
}

void t.test(
  'in a group a program runs, ends and fails as it does without',
  { skip: obstacle('v2') },
  async (t) => {
    const api = await groupedApi(t, testGroup(t, 'v2'))
    const exec = (body: object) => askJson(api.port, '/api/exec', body)
    writeFileSync(join(api.workspace, 'here'), '#!/bin/sh\ncat /proc/self/cgroup\nkill -9 $$\n')
    const refused = await exec({ argv: ['./here'] })
    t.equal(refused.status, 422)
    t.match(refused.body, /it may not be executed/)
    chmodSync(join(api.workspace, 'here'), 0o755)
    const ran = await exec({ argv: ['./here'] })
    t.match(ran.body, /discobot-services\/agent-api\/command-/)
    t.match(ran.body, /"exit":{"code":null,"signal":"SIGKILL"/)
    t.match((await exec({ argv: ['no-such-program'] })).body, /there is no such program/)
    const env = await exec({ argv: ['env'], env: { PATH: '/usr/bin:/bin', MORE: 'a b' } })
    t.match(env.body, /MORE=a b/)
    t.notMatch(env.body, /DISCOBOT_OWN_GROUP/, 'a command is not told of the group')
    await waitFor('the end of all groups', () => api.commandGroups().length === 0)
    t.ok(existsSync(api.workspace))
  },
)
