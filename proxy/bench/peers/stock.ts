import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort } from '../stage/stage.js'
import type { StartPeer } from './peer.js'

const PROGRAM = fileURLToPath(new URL('./stock-program.js', import.meta.url))

/** http-mitm-proxy as npm has it, in a process of its own. It has no cache: every request goes upstream. */
export const startStock: StartPeer = async ({ stage, origin }) => {
  const folder = join(stage.folder, 'stock')
  await mkdir(folder)
  const port = await freePort()
  const running = await stage.start({
    name: 'stock',
    command: [process.execPath, PROGRAM, String(port), folder],
    env: { NODE_EXTRA_CA_CERTS: origin.caFile },
    port,
  })
  const caFile = join(folder, 'certs', 'ca.pem')
  const ca = await readFile(caFile, 'utf8')
  return {
    name: 'stock',
    caFile,
    ca,
    proxyPort: port,
    pid: running.pid,
    caches: false,
    stop: running.stop,
  }
}
