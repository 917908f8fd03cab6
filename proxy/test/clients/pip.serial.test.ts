import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { startHttpsOrigin } from '../../../test/lab/harness.js'
import { startClientLab } from './client-lab.js'

// pip finds a wheel in an index and has it through the proxy, the second time from the cache.

const WHEEL = 'demo-1.0-py3-none-any.whl'

t.test('pip downloads byte for byte, and a second time without asking for the wheel', async (t) => {
  const lab = await startClientLab(t)
  const info = join(lab.folder, 'demo-1.0.dist-info')
  mkdirSync(info)
  writeFileSync(join(info, 'METADATA'), 'Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n')
  writeFileSync(join(info, 'WHEEL'), 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
  writeFileSync(join(info, 'RECORD'), '')
  writeFileSync(join(lab.folder, 'demo.bin'), randomBytes(2 * 1024 * 1024))
  await lab.run('/usr/bin/python3', ['-m', 'zipfile', '-c', WHEEL, 'demo-1.0.dist-info', 'demo.bin'])
  const wheel = readFileSync(join(lab.folder, WHEEL))
  // As files.pythonhosted.org names them: by 256 bits of BLAKE2.
  const hex = createHash('blake2b512').update(wheel).digest('hex').slice(0, 64)
  const wheelPath = `/packages/${hex.slice(0, 2)}/${hex.slice(2, 4)}/${hex.slice(4)}/${WHEEL}`
  const sha256 = createHash('sha256').update(wheel).digest('hex')
  const asked: string[] = []
  const { port } = await startHttpsOrigin(t, lab.proxy.originAuthority, 'pypi.test', (request, response) => {
    asked.push(request.url ?? '')
    if (request.url === wheelPath) return void response.end(wheel)
    if (request.url !== '/simple/demo/') return void response.writeHead(404).end()
    // https://packaging.python.org/en/latest/specifications/simple-repository-api/
    response.setHeader('Content-Type', 'text/html')
    response.end(`<!DOCTYPE html><a href="${wheelPath}#sha256=${sha256}">${WHEEL}</a>`)
  })

  for (const [round, outcome] of [
    ['first', 'miss'],
    ['second', 'hit'],
  ] as const) {
    await lab.run(
      '/usr/bin/python3',
      [
        ...['-m', 'pip', 'download', '--no-deps', '--no-cache-dir', '--disable-pip-version-check'],
        ...['--index-url', `https://pypi.test:${port}/simple/`, '--dest', round, 'demo'],
      ],
      { env: { PIP_CONFIG_FILE: '/dev/null' } },
    )
    t.ok(readFileSync(join(lab.folder, round, WHEEL)).equals(wheel), round)
    await lab.logged(new RegExp(`GET pypi\\.test:${port}${wheelPath} 200 cache ${outcome}`))
  }
  t.equal(asked.filter((path) => path === wheelPath).length, 1)
  t.equal(lab.requests(/\/simple\/demo\/ 200 response/).length, 2, 'what changes is asked for each time')
})
