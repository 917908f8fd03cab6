import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..')

/** The folders that everything that is built lives in; rooms.mjs has their rooms. */
export const ROOMS = ['base', 'config', 'proxy', 'agent', 'test']

/** `engines.node` of package.json: `Socket` and `tls` behave as we need them from here on. */
const NODE_FLOOR = [20, 18, 1]

/** Ends the program with a message a person can act on. */
export function fail(message, code = 1) {
  console.error(message)
  process.exit(code)
}

/** Here, so that no script can forget it: what older versions lack shows up in strange places. */
function requireNode() {
  const have = process.versions.node.split('.').map(Number)
  const first = NODE_FLOOR.findIndex((floor, index) => have[index] !== floor)
  if (first === -1 || have[first] > NODE_FLOOR[first]) return
  fail(`cannot run on Node ${process.versions.node}: it takes Node ${NODE_FLOOR.join('.')} or newer`)
}

requireNode()

/** All files below `folder`, paths relative to the project (or another `root`), in a stable order. */
export function filesBelow(folder, root = ROOT) {
  const found = []
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) found.push(...filesBelow(path, root))
    else found.push(path)
  }
  return found.sort()
}

/** Names the lock file an installation was made from; written last, so a broken-off one has none. */
const INSTALLED = join(ROOT, 'node_modules/.installed-from')

/** Installs what the lock file names, unless that is what is there: dates say nothing after a checkout. */
export function ensureInstalled() {
  const wanted = createHash('sha256')
    .update(readFileSync(join(ROOT, 'package-lock.json')))
    .digest('hex')
  if (existsSync(INSTALLED) && readFileSync(INSTALLED, 'utf8') === wanted) return
  console.log('Installing what package-lock.json names (npm ci); this takes a minute the first time.')
  const [program, ...before] = npmCommand()
  const { status } = spawnSync(program, [...before, 'ci', '--no-audit', '--no-fund'], {
    cwd: ROOT,
    stdio: 'inherit',
    env: { ...process.env, npm_config_progress: 'true' },
  })
  if (status !== 0) fail('cannot install: npm ci failed; what it says above is the reason')
  writeFileSync(INSTALLED, wanted)
}

/** The npm that started us, which need not be the first on PATH. */
export function npmCommand() {
  const npm = process.env.npm_execpath
  return npm === undefined ? ['npm'] : [process.execPath, npm]
}

/** Milliseconds since the epoch, 0 for a file that is not there. */
export function modifiedMs(path) {
  const full = join(ROOT, path)
  return existsSync(full) ? statSync(full).mtimeMs : 0
}
