import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort } from '../stage/stage.js'
import { PeerUnavailableError } from '../stage/errors.js'
import type { Peer, PeerDeps, StartPeer } from './peer.js'

const MAIN = fileURLToPath(new URL('../../main.js', import.meta.url))
const BUNDLE = fileURLToPath(new URL('../../../bundle/proxy.cjs', import.meta.url))

/** Ours, as `npm run build` makes it. */
export const startDiscobot: StartPeer = (deps) => start(deps, 'discobot', MAIN)

/** Ours, as it is in the image. */
export const startBundle: StartPeer = (deps) => {
  if (!existsSync(BUNDLE))
    throw new PeerUnavailableError('dist/bundle/proxy.cjs is not there: npm run bundle')
  return start(deps, 'bundle', BUNDLE)
}

async function start(
  { stage, origin, profileFolder }: PeerDeps,
  name: 'discobot' | 'bundle',
  program: string,
): Promise<Peer> {
  const folder = join(stage.folder, name)
  await mkdir(folder)
  const [port, apiPort] = [await freePort(), await freePort()]
  const configFile = join(folder, 'config.yaml')
  // JSON is YAML. The log goes to a file, as squid's does.
  const config = {
    proxy: { port, api_port: apiPort },
    tls: { cert_dir: join(folder, 'certs'), upstream_ca: [origin.caFile] },
    cache: { dir: join(folder, 'cache') },
    logging: { file: join(folder, 'proxy.log') },
  }
  await writeFile(configFile, JSON.stringify(config))
  const profiling =
    profileFolder === undefined
      ? []
      : ['--cpu-prof', `--cpu-prof-dir=${profileFolder}`, `--cpu-prof-name=${name}.cpuprofile`]
  const running = await stage.start({
    name,
    command: [process.execPath, ...profiling, program, '--config', configFile],
    env: {},
    port,
  })
  const caFile = join(folder, 'certs', 'ca.crt')
  const ca = await readFile(caFile, 'utf8')
  return { name, caFile, ca, proxyPort: port, pid: running.pid, caches: true, stop: running.stop }
}
