import t from 'tap'
import { readFileSync } from 'node:fs'
import { readDefault } from '../default-document.js'
import { configJsonSchema } from '../../schema/json-schema.js'
import { loadConfigFile, loadDefaultConfig } from '../load.js'
import { dataPaths, DEFAULT_DATA_DIR, LOOPBACK, PROXY_API_PORT, PROXY_PORT } from '../../model/paths.js'
import { ConfigError } from '../../yaml/problem.js'
import { LEAF_NAMES } from '../../schema/file.js'

t.test('the shipped default says something for every key, with a comment above each', async (t) => {
  const { config, sources } = loadDefaultConfig()
  t.strictSame(
    Object.keys(sources).sort(),
    LEAF_NAMES.filter((name) => !['headers', 'secrets', 'locks', 'end_marker'].includes(name)).sort(),
  )
  const { certDir, cacheDir } = dataPaths(DEFAULT_DATA_DIR)
  t.match(config, {
    proxy: { port: PROXY_PORT, api_port: PROXY_API_PORT, host: [LOOPBACK] },
    tls: { cert_dir: certDir },
    cache: { enabled: true, dir: cacheDir, max_size: 21474836480 },
    headers: {},
    allowlist: { enabled: false },
  })
  const lines = readDefault().split('\n')
  for (const name of LEAF_NAMES) {
    const key = name.split('.').at(-1)
    const index = lines.findIndex((line) => line.trimStart().startsWith(`${key}:`))
    t.match(lines[index - 1], /^ *# .*[.:]|"$/, `${name} has a comment`)
  }
})

t.test('the default patterns keep what is named by its digest and nothing that may change', async (t) => {
  const patterns = loadDefaultConfig().config.cache.patterns.map((pattern) => new RegExp(pattern))
  const isKept = (path: string): boolean => patterns.some((pattern) => pattern.test(path))
  t.ok(isKept('/v2/library/ubuntu/blobs/sha256:abc'))
  t.ok(isKept('/v2/library/ubuntu/manifests/sha256:abc'))
  t.ok(isKept('/registry-v2/docker/registry/v2/blobs/sha256/ab/abc/data'))
  const hex = 'ab'.repeat(32)
  t.ok(isKept(`/sha256/ab/${hex}`))
  t.ok(isKept(`/ghcr1/blobs/sha256:${hex}`))
  t.ok(isKept(`/project.appspot.example/containers/images/sha256:${hex}`))
  t.notOk(isKept(`/v2/repositories/team/app/images/sha256:${hex}`), 'what is said of an image')
  t.notOk(isKept('/v2/library/ubuntu/manifests/latest'))
  t.notOk(isKept('/v2/library/ubuntu/blobs/uploads/1'))
})

t.test('the text of the default can be given, and is judged like any other', async (t) => {
  t.equal(
    loadDefaultConfig({ defaultText: readDefault().replace('level: info', 'level: warn') }).config.logging
      .level,
    'warn',
  )
  t.throws(() => loadDefaultConfig({ defaultText: 'x: 1' }), ConfigError)
})

t.test('one file counts over the default, its relative paths starting at its folder', async (t) => {
  const folder = t.testdir({
    'proxy.yaml':
      'tls: { cert_dir: certs, upstream_ca: [ca.pem] }\ncache: { dir: /.data/proxy/cache }\nlogging: { file: "" }\n',
  })
  const { config } = await loadConfigFile(`${folder}/proxy.yaml`, { dataDir: '/elsewhere' })
  t.equal(config.tls.cert_dir, `${folder}/certs`)
  t.strictSame(config.tls.upstream_ca, [`${folder}/ca.pem`])
  t.equal(config.cache.dir, '/elsewhere/proxy/cache', "the default's own value moves along")
  t.equal(config.logging.file, '')
})

t.test('schema.json, which editors read, is what the schema says today', async (t) => {
  const committed: unknown = JSON.parse(readFileSync(new URL('../../schema.json', import.meta.url), 'utf8'))
  t.strictSame(committed, JSON.parse(JSON.stringify(configJsonSchema())))
  t.match(readDefault(), /^# yaml-language-server: \$schema=\.\/schema\.json\n/)
})
