import t from 'tap'
import type { Origin } from '../../../../config/layers/layer.js'
import { loadDefaultConfig } from '../../../../config/layers/load.js'
import { inheritedProxy } from '../inherited-proxy.js'

// A container that is given proxy variables goes out by them, unless a file says otherwise, and says so.

const shipped = loadDefaultConfig({ dataDir: '/.data' })
const from = (env: Record<string, string>, sources = shipped.sources) =>
  inheritedProxy({ config: shipped.config, sources }, env)

void t.test('the variables are used, without their password in what is told', (t) => {
  t.equal(from({}), undefined)
  const found = from({
    HTTPS_PROXY: 'http://me:hush@corp.test:3128',
    NO_PROXY: '.in.test,10.0.0.0/8, one.test:8443',
  })
  t.equal(found?.config.upstream_proxy.url, 'http://me:hush@corp.test:3128')
  t.equal(found?.told, 'upstream_proxy is http://corp.test:3128, by HTTPS_PROXY')
  t.strictSame(found?.config.upstream_proxy.no_proxy.slice(-3), ['in.test', '*.in.test', '10.0.0.0/8'])
  t.match(from({ all_proxy: 'socks5h://corp.test' })?.told, 'socks5h://corp.test:1080, by all_proxy')
  t.end()
})

void t.test('what cannot be used is told, and a file, "*" or ourselves leave them unused', (t) => {
  const bad = from({ HTTP_PROXY: 'https://me:hush@corp.test' })
  t.match(bad?.told, /HTTP_PROXY is not used: its value is not the address of a proxy/)
  t.notMatch(bad?.told, 'hush')
  t.equal(bad?.config, shipped.config)
  t.match(from({ HTTP_PROXY: 'http://a:${B}@corp.test' })?.told, /not used/)
  t.equal(from({ HTTPS_PROXY: 'http://corp.test:3128', no_proxy: '*' }), undefined)
  t.equal(from({ HTTPS_PROXY: 'http://127.0.0.1:17080' }), undefined, 'a proxy of ours')
  const origin: Origin = { layer: 'operator', file: '/o.yaml', line: 1, col: 1 }
  const said = { ...shipped.sources, 'upstream_proxy.url': [origin] }
  t.equal(from({ HTTPS_PROXY: 'http://corp.test:3128' }, said), undefined)
  t.end()
})
