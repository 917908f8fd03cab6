import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { startHttpsOrigin } from '../../../test/lab/harness.js'
import { startClientLab } from './client-lab.js'

// npm installs a package through the proxy, and the second install takes its archive from the cache.

t.test('npm installs byte for byte, and a second time without asking for the archive', async (t) => {
  const lab = await startClientLab(t)
  const content = randomBytes(2 * 1024 * 1024)
  mkdirSync(join(lab.folder, 'package'))
  writeFileSync(join(lab.folder, 'package/package.json'), '{ "name": "@team/demo", "version": "1.0.0" }')
  writeFileSync(join(lab.folder, 'package/data.bin'), content)
  await lab.run('tar', ['-czf', 'demo-1.0.0.tgz', 'package'])
  const archive = readFileSync(join(lab.folder, 'demo-1.0.0.tgz'))
  const archivePath = '/@team/demo/-/demo-1.0.0.tgz'
  const asked: string[] = []
  const { port } = await startHttpsOrigin(t, lab.proxy.originAuthority, 'npm.test', (request, response) => {
    asked.push(request.url ?? '')
    if (request.url === archivePath) return void response.end(archive)
    if (request.url !== '/@team%2fdemo') return void response.writeHead(404).end('{}')
    // https://github.com/npm/registry/blob/main/docs/responses/package-metadata.md
    const dist = {
      tarball: `https://npm.test:${port}${archivePath}`,
      integrity: `sha512-${createHash('sha512').update(archive).digest('base64')}`,
    }
    const versions = { '1.0.0': { name: '@team/demo', version: '1.0.0', dist } }
    response.setHeader('Content-Type', 'application/json')
    response.end(JSON.stringify({ name: '@team/demo', 'dist-tags': { latest: '1.0.0' }, versions }))
  })

  for (const [round, outcome] of [
    ['first', 'miss'],
    ['second', 'hit'],
  ] as const) {
    const project = join(lab.folder, round)
    mkdirSync(project)
    writeFileSync(join(project, 'package.json'), '{}')
    await lab.run('npm', ['install', '@team/demo', '--no-audit', '--no-fund', '--no-update-notifier'], {
      cwd: project,
      env: {
        npm_config_registry: `https://npm.test:${port}/`,
        npm_config_cache: join(project, 'npm-cache'),
        npm_config_userconfig: join(project, 'npmrc'),
        npm_config_globalconfig: join(project, 'global-npmrc'),
      },
    })
    t.ok(readFileSync(join(project, 'node_modules/@team/demo/data.bin')).equals(content), round)
    await lab.logged(new RegExp(`GET npm\\.test:${port}${archivePath} 200 cache ${outcome}`))
  }
  t.equal(asked.filter((path) => path === archivePath).length, 1)
  t.ok(lab.requests(/@team%2fdemo 200 response/).length === 2, 'what changes is asked for each time')
})
