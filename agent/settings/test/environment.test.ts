import { execFileSync } from 'node:child_process'
import t from 'tap'
import { proxyEnvironment, serviceEnvironment, shellExports } from '../environment.js'

const ACCESS = { host: '127.0.0.1', port: 17080, caFile: '/ca.crt', bundleFile: '/bundle.crt' }

void t.test('proxy and trust variables are those of design.md', (t) => {
  const url = 'http://127.0.0.1:17080'
  t.strictSame(proxyEnvironment(ACCESS), {
    HTTP_PROXY: url,
    HTTPS_PROXY: url,
    ALL_PROXY: url,
    NO_PROXY: 'localhost,127.0.0.1,::1',
    http_proxy: url,
    https_proxy: url,
    all_proxy: url,
    no_proxy: 'localhost,127.0.0.1,::1',
    NODE_EXTRA_CA_CERTS: '/ca.crt',
    SSL_CERT_FILE: '/bundle.crt',
    REQUESTS_CA_BUNDLE: '/bundle.crt',
    CURL_CA_BUNDLE: '/bundle.crt',
    GIT_SSL_CAINFO: '/bundle.crt',
    PIP_CERT: '/bundle.crt',
    AWS_CA_BUNDLE: '/bundle.crt',
    CARGO_HTTP_CAINFO: '/bundle.crt',
    DENO_CERT: '/bundle.crt',
    GRPC_DEFAULT_SSL_ROOTS_FILE_PATH: '/bundle.crt',
    NIX_SSL_CERT_FILE: '/bundle.crt',
    PERL_LWP_SSL_CA_FILE: '/bundle.crt',
    HTTPLIB2_CA_CERTS: '/bundle.crt',
    CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE: '/bundle.crt',
    HEX_CACERTS_PATH: '/bundle.crt',
    JULIA_SSL_CA_ROOTS_PATH: '/bundle.crt',
    CONDA_SSL_VERIFY: '/bundle.crt',
    NODE_USE_ENV_PROXY: '1',
  })
  t.equal(proxyEnvironment({ ...ACCESS, host: '::1' })['HTTP_PROXY'], 'http://[::1]:17080')
  t.end()
})

void t.test('a service has the account it runs as, whatever was inherited', (t) => {
  const env = serviceEnvironment({
    account: { name: 'discobot', home: '/home/discobot' },
    inherited: {
      HOME: '/root',
      USER: 'root',
      PATH: '/opt/x/bin:/bin',
      HTTP_PROXY: 'http://outer:3128',
      API_KEY: 'k',
    },
    proxy: ACCESS,
    extra: { DISCOBOT_AGENT_PORT: '3002' },
  })
  t.match(env, {
    HOME: '/home/discobot',
    USER: 'discobot',
    LOGNAME: 'discobot',
    PATH: '/opt/x/bin:/bin',
    LANG: 'C.UTF-8',
    API_KEY: 'k',
    HTTP_PROXY: 'http://127.0.0.1:17080',
    DISCOBOT_AGENT_PORT: '3002',
  })
  t.end()
})

void t.test('without the proxy nobody is sent to it', (t) => {
  const env = serviceEnvironment({ account: { name: 'a', home: '/a' }, inherited: {} })
  t.strictSame(Object.keys(env).sort(), ['HOME', 'LANG', 'LOGNAME', 'PATH', 'USER'])
  t.end()
})

void t.test('a shell reads back exactly what was exported', (t) => {
  const values = { A: `it's "quoted" $HOME \`id\``, B: 'two\nlines', C: '' }
  const script = `${shellExports(values)}printf '%s|%s|%s' "$A" "$B" "$C"`
  t.equal(execFileSync('sh', ['-c', script], { encoding: 'utf8' }), Object.values(values).join('|'))
  t.end()
})
