import { randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import type { Finding } from '../../cli/doctor/finding.js'
import { readOptions, type AgentOptions } from '../../settings/options.js'
import { exposureOf } from '../exposure.js'
import { ownPorts } from '../own-ports.js'
import { wallOf, withheldLine } from '../wall.js'
import { NOTHING_FOUND as nothing, type WallFindings } from '../wall-findings.js'
import { bootContainer, NEEDS_ROOT } from '../../../test/lab/booted.js'
import { BUILT } from '../../../test/lab/isolated.js'
import { shortFolder } from '../../../test/lab/service-lab.js'
import { makeOriginCertificates } from '../../../test/lab/origins/origin-certificates.js'
import { makeOriginSite, ORIGIN_HOSTS, startOrigins } from '../../../test/lab/origins/origin-site.js'

// The level of the wall is told as it is, and a secret that the workspace's user could read is not loaded.

function optionsOf(env: Record<string, string> = {}, pid = 1): AgentOptions {
  return readOptions({ env, pid, uid: 0, cwd: '/', homedir: '/root' })
}

void t.test("who has root's rights by some way is found out", async (t) => {
  const root = shortFolder(t)
  for (const folder of ['etc', 'run', 'var/run']) mkdirSync(join(root, folder), { recursive: true })
  writeFileSync(
    join(root, 'etc/passwd'),
    'discobot:x:1000:1000::/home/discobot:/bin/sh\ntoor:x:0:0::/:/bin/sh\n',
  )
  writeFileSync(join(root, 'etc/group'), 'docker:x:998:other\n')
  const reasonOf = (env: Record<string, string>, docker = false): string | undefined =>
    exposureOf(optionsOf(env), docker, root)?.reason
  t.equal(reasonOf({}), undefined)
  t.match(reasonOf({}, true), /Docker engine with root's rights/)
  t.match(reasonOf({ DISCOBOT_USER: 'root' }), /user is root/)
  t.match(reasonOf({ DISCOBOT_USER: 'toor' }), /user is root/)
  t.match(exposureOf(optionsOf({}, 4711), false, root)?.reason, /outside a container/)

  const server = createServer()
  await new Promise<void>((resolve) => server.listen(join(root, 'run/docker.sock'), resolve))
  t.teardown(() => server.close())
  const { chmodSync, chownSync } = await import('node:fs')
  const socket = join(root, 'run/docker.sock')
  chmodSync(socket, 0o666)
  t.match(reasonOf({}), /may use the Docker engine at \/run\/docker\.sock/, 'one that was mounted')
  chmodSync(socket, 0o600)
  t.equal(reasonOf({}), process.getuid?.() === 1000 ? /may use/ : undefined, "it is somebody else's")
  if (process.getuid?.() === 0) {
    chownSync(socket, 0, 998)
    chmodSync(socket, 0o660)
    t.equal(reasonOf({}), undefined, 'for a group that the user is not in')
    writeFileSync(join(root, 'etc/group'), 'docker:x:998:other,discobot\n')
    t.match(reasonOf({}), /may use/)
  }
  const named = createServer()
  await new Promise<void>((resolve) => named.listen(join(root, 'own.sock'), resolve))
  t.teardown(() => named.close())
  chmodSync(join(root, 'own.sock'), 0o777)
  t.match(reasonOf({ DOCKER_HOST: 'unix:///own.sock' }), /own\.sock/)
})

void t.test('the proxy is told of the ports of all our services', async (t) => {
  t.strictSame(await ownPorts(optionsOf(), false), [3002])
  t.strictSame(await ownPorts(optionsOf({ DISCOBOT_AGENT_PORT: '4000' }), false), [4000])
  const args = '-H tcp://127.0.0.1:4242 --host=tcp://[::1]:4343 -H unix:///x.sock --host tcp://0.0.0.0'
  t.strictSame(
    await ownPorts(optionsOf({ DISCOBOT_DOCKERD_ARGS: args }), true),
    [3002, 4242, 4343, 2375, 2376],
  )
})

void t.test('each promise says whether it holds, and why not', (t) => {
  const held = (findings: WallFindings, answers = true): string[] =>
    wallOf(optionsOf(), findings, answers, undefined)
      .promises.filter(({ holds }) => holds)
      .map(({ id }) => id)
  const byProxy = ['policy-decides', 'own-services-unreached', 'secrets-stay-with-hosts']
  t.strictSame(held(nothing), [...byProxy, 'keys-unread', 'secrets-unread'])
  t.strictSame(held(nothing, false), ['keys-unread', 'secrets-unread'])
  const exposed = { ...nothing, withheld: ['A', 'B'], exposure: { reason: 'it is so', remedy: 'change it' } }
  t.strictSame(held(exposed), byProxy)
  const wall = wallOf(optionsOf(), exposed, true, undefined)
  t.match(wall, { level: 1, name: 'cooperative', withheld: { names: ['A', 'B'], reason: 'it is so' } })
  t.match(
    withheldLine(wall),
    /^secrets: A, B withheld .*, since it is so; change it, or write trust_docker: true/,
  )
  t.equal(
    withheldLine(wallOf(optionsOf({}, 4711), exposed, true, undefined)),
    undefined,
    'not outside a container',
  )
  for (const { holds, because } of wall.promises) t.equal(because === undefined, holds)
  t.end()
})

const PLACEHOLDER = 'sk-discobot-placeholder'
/** Installed and permitted, which is what counts; that it does not come up changes nothing. */
const DOCKERD = `printf '#!/bin/sh\\nexit 1\\n' > /usr/local/bin/dockerd; chmod 755 /usr/local/bin/dockerd\n`

void t.test(
  'beside a Docker engine of the user no secret is loaded that does not say so',
  { skip: NEEDS_ROOT },
  async (t) => {
    const secret = (): string => `leak-${randomBytes(12).toString('hex')}`
    const values = {
      DISCOBOT_SECRET_KEY: secret(),
      DISCOBOT_SECRET_SWAPPED: secret(),
      DISCOBOT_SECRET_TRUSTED: secret(),
    }
    const certificates = await makeOriginCertificates(
      t,
      ORIGIN_HOSTS,
      `blocklist: { domains: [blocked.test] }
secrets:
  KEY: { hosts: [git.test], env: DISCOBOT_SECRET_KEY }
  FILE: { hosts: [npm.test], file: /tmp/secret }
  SWAPPED: { hosts: [cut.test], env: DISCOBOT_SECRET_SWAPPED, placeholder: ${PLACEHOLDER} }
  TRUSTED: { hosts: [web.test], env: DISCOBOT_SECRET_TRUSTED, trust_docker: true }
headers:
  git.test: { set: { X-Key: '\${KEY}' } }
  npm.test: { set: { X-Key: '\${FILE}' } }
  web.test: { set: { X-Key: '\${TRUSTED}' } }
`,
    )
    const site = makeOriginSite(t)
    const { container, shell, status } = await bootContainer(t, certificates, {
      env: { ...values, DISCOBOT_DOCKER: 'rootful' },
      prepare: `${DOCKERD}echo file-secret > /tmp/secret; chmod 400 /tmp/secret\n`,
      readOnly: [site.folder],
    })
    const asked = await startOrigins(container, site, certificates)
    const get = (url: string, ...more: string[]): Promise<string> =>
      shell(`curl -sS -w '\\n%{http_code}' ${more.join(' ')} ${url}`)

    for (const [host, name] of [
      ['git.test', 'KEY'],
      ['npm.test', 'FILE'],
    ] as const) {
      const answer = await get(`https://${host}/digest-of/x-key`)
      t.match(
        answer,
        new RegExp(`secret ${name}: it is withheld, since .* Docker engine with root's rights; .*403$`, 's'),
      )
    }
    t.match(
      await get('https://cut.test/digest-of/x-api-key', `-H 'X-Api-Key: ${PLACEHOLDER}'`),
      /SWAPPED.*403$/s,
    )
    t.strictSame(asked(), [], 'nothing was sent without its credential')
    t.match(
      await get('https://web.test/digest-of/x-key'),
      /^[0-9a-f]{64}\s+200$/,
      'unless the operator names it',
    )
    t.equal(asked().length, 1)

    const names = ['KEY', 'FILE', 'SWAPPED']
    t.match(JSON.parse(await shell('curl -sS http://127.0.0.1:17081/health')), {
      status: 'degraded',
      secrets: { withheld: names, reason: /Docker engine/ },
    })
    const { wall, degraded } = await status()
    t.match(wall, { level: 1, name: 'cooperative', withheld: { names } })
    t.equal(wall?.promises.find(({ id }) => id === 'secrets-unread')?.holds, false)
    t.ok(
      degraded.some((line) => line.startsWith('secrets: KEY, FILE, SWAPPED withheld from the proxy, since')),
    )
    const agent = `'${process.execPath}' '${join(BUILT, 'agent/main.js')}'`
    t.match(
      await shell(`${agent} status`),
      /^wall +level 1, cooperative\n.*not promised: nothing leaves .*a packet filter is set, and .*Docker engine/ms,
    )
    const { stdout } = await container.exec(`${agent} doctor --json`)
    const told = (JSON.parse(stdout) as Finding[]).filter(({ check }) => check === 'wall')
    t.match(told.map(({ state }) => state).sort(), [
      'ok',
      'ok',
      'ok',
      'warning',
      'warning',
      'warning',
      'warning',
    ])
    t.match(
      container.logs(),
      /the policy holds for who uses the proxy, since a packet filter is set, and .*Docker engine.*DISCOBOT_DOCKER to rootless or off/,
    )
    t.match(container.logs(), /KEY, FILE, SWAPPED withheld from the proxy/)
    t.match(
      await shell('cat /proc/[0-9]*/environ 2>/dev/null | tr "\\0" "\\n" | grep -c leak- || true'),
      /^0/,
    )
  },
)
