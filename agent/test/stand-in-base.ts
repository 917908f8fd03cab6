import { spawn } from 'node:child_process'
import { createReadStream, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { CACHE, type DockerEngine } from './docker-engine.js'

/** What the default base is to the Dockerfile, where no image can be pulled. */
export const STAND_IN = `discobot-stand-in:node-${process.versions.node}`

/**
 * Makes a minimal Debian 12 with this machine's Node and npm, and with what lets this machine reach the package
 * registries: its certificates. Those belong to the machine, so they are in this image and not in the Dockerfile.
 */
export async function importStandInBase(engine: DockerEngine): Promise<void> {
  if ((await engine.tryDocker(['image', 'inspect', STAND_IN])).code === 0) return
  const archive = await standInArchive()
  const certificates = 'ENV NODE_EXTRA_CA_CERTS=/etc/ssl/machine-certificates.crt'
  const imported = await engine.tryDocker(
    ['import', '--change', certificates, '-', STAND_IN],
    createReadStream(archive),
  )
  if (imported.code !== 0) throw new Error(`docker import ended with ${imported.code}: ${imported.output}`)
}

async function standInArchive(): Promise<string> {
  const archive = join(CACHE, `base-${process.versions.node}.tar`)
  if (existsSync(archive)) return archive
  const root = join(CACHE, `base-root-${process.pid}`)
  mkdirSync(root, { recursive: true })
  try {
    await shell(`debootstrap --variant=minbase bookworm '${root}'`)
    // --dereference at the top: node may be a link, npm's parts are not.
    await shell(`
      root='${root}'; node='${process.execPath}'
      install -D "$node" "$root/usr/local/bin/node"
      npm=$(dirname "$(dirname "$(readlink -f "$(command -v npm)")")")
      mkdir -p "$root/usr/local/lib/node_modules"
      cp -RL "$npm" "$root/usr/local/lib/node_modules/npm"
      ln -s ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/local/bin/npm"
      rm -rf "$root/var/cache/apt/archives" "$root/var/lib/apt/lists"
      install -D --mode=644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/machine-certificates.crt"
      tar --create --directory "$root" --file '${archive}.part' --one-file-system .`)
    renameSync(`${archive}.part`, archive)
  } finally {
    rmSync(root, { recursive: true, force: true })
    rmSync(`${archive}.part`, { force: true })
  }
  return archive
}

function shell(script: string): Promise<void> {
  const child = spawn('sh', ['-euc', script], { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => (output = (output + chunk).slice(-10_000)))
  }
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => {
      if (code === 0) resolve()
      else reject(new Error(`cannot make the stand-in base: exit code ${code}\n${output}`))
    })
  })
}
