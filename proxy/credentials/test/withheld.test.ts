import t from 'tap'
import { resolveSecrets, SecretWithheldError } from '../secrets.js'
import {
  startHttpOrigin,
  startHttpsOrigin,
  startProxy,
  type TestProxyOptions,
} from '../../../test/lab/harness.js'

// A secret that is withheld is not read, and nothing that needs it is done without it.

const REASON = 'somebody could read it'
const PLACEHOLDER = 'sk-discobot-placeholder'
const all = (name: string) => ({ hosts: ['origin.test', '127.0.0.1'], env: name })

t.test('a secret that is withheld is not even looked for; one that is trusted is', async (t) => {
  const sources = {
    A: all('A'),
    B: { hosts: ['*'], file: '/nonexistent' },
    C: { ...all('C'), trust_docker: true },
  }
  const secrets = await resolveSecrets(sources, { A: 'value-a', C: 'value-c' }, REASON)
  t.strictSame(secrets.withheld, { names: ['A', 'B'], reason: REASON })
  t.throws(() => secrets.reveal('A', 'origin.test'), SecretWithheldError)
  t.throws(() => secrets.compare('B'), { message: /secret B: it is withheld, since somebody could read it/ })
  t.equal(secrets.reveal('C', 'origin.test'), 'value-c')
  t.equal((await resolveSecrets({ A: all('A') }, { A: 'value-a' })).withheld, undefined)
  await t.rejects(resolveSecrets({ C: sources.C }, {}, REASON), /the variable C is not set/)
})

t.test('requests that need one are refused by every way, those that do not go on', async (t) => {
  const secrets: TestProxyOptions['secrets'] = {
    KEY: all('KEY'),
    SWAPPED: {
      ...all('SWAPPED'),
      placeholder: PLACEHOLDER,
      placeholder_headers: ['X-Api-Key', 'Authorization'],
    },
  }
  const proxy = await startProxy(t, {
    secrets,
    withheld: REASON,
    env: { KEY: 'k', SWAPPED: 's' },
    headers: {
      'origin.test': { set: { 'X-Key': '${KEY}' }, conditions: [{ header: 'X-Want', equals: 'key' }] },
    },
  })
  let asked = 0
  const { port } = await startHttpsOrigin(t, proxy.originAuthority, 'origin.test', (_request, response) => {
    asked += 1
    response.end('reached')
  })
  const url = `https://origin.test:${port}/`
  const needing = [
    ['-H', 'X-Want: key'],
    ['-H', 'X-Want: key', '--http2'],
    ['-H', 'X-Want: key', '--http1.1', '-H', 'Connection: Upgrade', '-H', 'Upgrade: x'],
    ['-H', `X-Api-Key: ${PLACEHOLDER}`],
    ['-H', `Authorization: Bearer ${PLACEHOLDER}`],
    ['-u', `user:${PLACEHOLDER}`],
  ]
  for (const scheme of ['http', 'socks5h']) {
    for (const more of needing) {
      const answer = await proxy.curl('-x', `${scheme}://$PROXY`, ...more, url)
      t.match(answer, { status: 403, body: /is withheld, since somebody could read it/ }, more.join(' '))
    }
    t.equal(asked, 0)
    t.match(await proxy.curl('-x', `${scheme}://$PROXY`, url), { status: 200, body: 'reached' })
    asked = 0
  }
})

t.test(
  'without its password nobody passes proxy.auth, and without its own nobody the upstream proxy',
  async (t) => {
    const { port } = await startHttpOrigin(t, (_request, response) => void response.end('reached'))
    const url = `http://origin.test:${port}/`
    const asking = await startProxy(t, {
      secrets: { PW: { hosts: [], env: 'PW' } },
      env: { PW: 'x' },
      withheld: REASON,
      auth: { user: 'agents', password: '${PW}', loopback: 'required' },
    })
    for (const shown of [[], ['--proxy-user', 'agents:x'], ['--proxy-user', 'agents:']]) {
      const { status, body } = await asking.curl('-x', 'http://$PROXY', ...shown, url)
      t.match({ status, body }, { status: 407, body: /nobody has it: .*PW: it is withheld/ })
    }
    const parent = await startProxy(t)
    for (const scheme of ['http', 'socks5']) {
      for (const resolve of ['local', 'remote'] as const) {
        const proxy = await startProxy(t, {
          secrets: { PW: all('PW') },
          env: { PW: 'x' },
          withheld: REASON,
          upstreamProxy: { url: `${scheme}://me:\${PW}@127.0.0.1:${parent.port}`, resolve, no_proxy: [] },
        })
        t.match(await proxy.curl('-x', 'http://$PROXY', url), { status: 403, body: /PW: it is withheld/ })
      }
    }
    t.equal(parent.server.traffic.ended().length, 0, 'it was asked for nothing')
  },
)
