import { randomFillSync } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { request as askHttp } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { startGitServer } from '../../../test/lab/origins/git-server.js'
import { startHttpsOrigin } from '../../../test/lab/harness.js'
import { startClientLab } from './client-lab.js'

// git pushes 200 MB over https and clones them again: a body of unknown length, much larger than any buffer.

const FILES = 4
const FILE_BYTES = 50 * 1024 * 1024

t.test('git pushes 200 MB and clones them again', async (t) => {
  const lab = await startClientLab(t)
  const root = join(lab.folder, 'served')
  mkdirSync(root)
  const git = await startGitServer(t, root)
  const { port } = await startHttpsOrigin(t, lab.proxy.originAuthority, 'git.test', (request, response) => {
    const { url = '/', method = 'GET', headers } = request
    const asked = askHttp(git.url + url, { method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(response)
    })
    asked.on('error', () => response.destroy())
    request.pipe(asked)
  })
  await lab.run('git', ['init', '-q', '--bare', '--initial-branch=main', 'served/large.git'])
  await lab.run('git', ['-C', 'served/large.git', 'config', 'http.receivepack', 'true'])
  // Kept as it came instead of taken apart and compressed anew.
  await lab.run('git', ['-C', 'served/large.git', 'config', 'receive.unpackLimit', '1'])
  const work = join(lab.folder, 'work')
  const inWork = (...args: string[]): Promise<Buffer> => {
    // Random bytes do not shrink, nor resemble each other; git would only take its time to find out.
    const cheap = ['core.compression=0', 'core.bigFileThreshold=1m']
    const settings = ['user.name=Tester', 'user.email=tester@example.com', ...cheap]
    return lab.run('git', [...settings.flatMap((setting) => ['-c', setting]), ...args], { cwd: work })
  }
  mkdirSync(work)
  await inWork('init', '-q', '--initial-branch=main')
  const content = Buffer.allocUnsafe(FILE_BYTES)
  for (let at = 0; at < FILES; at += 1) writeFileSync(join(work, `${at}.bin`), randomFillSync(content))
  await inWork('add', '.')
  await inWork('commit', '-qm', 'large')
  const url = `https://git.test:${port}/large.git`
  await inWork('push', '-q', url, 'main')
  await lab.logged(/POST git\.test:\d+\/large\.git\/git-receive-pack 200/)

  await lab.run('git', ['clone', '-q', url, 'again'])
  await lab.logged(/POST git\.test:\d+\/large\.git\/git-upload-pack 200/)
  // The name of a tree is a digest of all that is in it, and git names what it receives by what it finds in it.
  const tree = ['rev-parse', 'HEAD^{tree}']
  t.equal(String(await lab.run('git', ['-C', 'again', ...tree])), String(await inWork(...tree)))
})
