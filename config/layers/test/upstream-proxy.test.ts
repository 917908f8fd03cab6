import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { composeConfig } from '../../compose.js'
import { loadConfigFile } from '../load.js'
import { ConfigError, formatProblem } from '../../yaml/problem.js'
import { redactConfig } from '../../compose/redact.js'
import { parseUpstreamProxyUrl } from '../../model/upstream-proxy-url.js'

// By which way traffic goes is for the operator to say, and who we are there is shown to nobody.

t.test('a URL is taken apart, escapes and references included', async (t) => {
  t.strictSame(parseUpstreamProxyUrl('http://Proxy.Example:3128/'), {
    scheme: 'http',
    host: 'proxy.example',
    port: 3128,
  })
  t.strictSame(parseUpstreamProxyUrl('socks5h://u%40x:p%3A%25${KEY}@[::1]'), {
    scheme: 'socks5h',
    host: '::1',
    port: 1080,
    credentials: { user: 'u@x', password: 'p:%${KEY}' },
  })
})

t.test('what cannot be meant is an error that quotes no password', async (t) => {
  const file = join(t.testdir(), 'config.yaml')
  const cases: readonly (readonly [url: string, message: RegExp])[] = [
    ['ftp://hunter2@proxy.example', /the value is not the address of a proxy/],
    ['http://hunter2@proxy.example/path', /the value is not the address of a proxy/],
    ['http://a:hunter2@proxy.example:70000', /names no usable host and port/],
    ['http://a:hunter2%@proxy.example', /has a "%" that begins no escape/],
    ['http://a:${hunter2 x}@proxy.example', /begins no reference/],
    ['http://a:${NONE}@proxy.example', /there is no secret "NONE"/],
    ['http://a:${KEY}@other.example', /secret "KEY" may not go to other\.example/],
  ]
  for (const [url, message] of cases) {
    writeFileSync(file, `upstream_proxy: { url: '${url}' }\nsecrets: { KEY: { hosts: [proxy.example] } }\n`)
    const problems = await loadConfigFile(file).then(
      () => [],
      (error: unknown) => (error instanceof ConfigError ? error.problems : []),
    )
    const told = problems.map(formatProblem).join('\n')
    t.match(told, message, url)
    t.notMatch(told, /hunter2/)
  }
})

t.test('a workspace may not change the way, and credentials are masked', async (t) => {
  const dir = t.testdir()
  const [operatorFile, workspaceFile] = [join(dir, 'operator'), join(dir, 'workspace')]
  writeFileSync(operatorFile, "upstream_proxy: { url: 'http://a:hunter2@proxy.example:3128' }\n")
  writeFileSync(
    workspaceFile,
    "upstream_proxy: { url: 'http://mine.example', no_proxy: ['*'], resolve: remote }\nlimits: { requests: 1000000, connections: 10 }\n",
  )
  const { config, problems } = await composeConfig({ dataDir: dir, operatorFile, workspaceFile })
  t.match(problems.map(formatProblem), [
    /"upstream_proxy\.url" is refused: a workspace may not say by which way/,
    /"upstream_proxy\.no_proxy" is refused/,
    /"upstream_proxy\.resolve" is refused/,
    /"limits\.requests" is refused: a workspace may only choose less than 4096/,
  ])
  t.equal(config.limits.connections, 10)
  t.equal(config.upstream_proxy.url, 'http://a:hunter2@proxy.example:3128')
  t.equal(redactConfig(config).upstream_proxy.url, 'http://[redacted]@proxy.example:3128')
})
