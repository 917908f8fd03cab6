/** `npm run build`: compiles everything, tests included, into dist/ and puts beside it what is not TypeScript. */
import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ensureInstalled, filesBelow, modifiedMs, ROOMS, ROOT } from './project.mjs'

/** Written last: newer than every source means that dist/ is complete and up to date. */
const STAMP = 'dist/.built'
const PROGRAMS = ['agent/main.js', 'agent/api/main.js', 'proxy/main.js']

/** Does nothing when dist/ is up to date. Returns whether it is now. */
export function build() {
  const sources = ROOMS.flatMap((room) => filesBelow(room))
  if (isFresh(sources)) return true
  const started = Date.now()
  rmSync(join(ROOT, STAMP), { force: true })
  removeOrphans(sources)
  const compiler = join(ROOT, 'node_modules/typescript/bin/tsc')
  const { status } = spawnSync(process.execPath, [compiler, '-p', '.', '--pretty'], {
    cwd: ROOT,
    stdio: 'inherit',
  })
  if (status !== 0) {
    console.error('cannot build: the compiler found the errors above')
    return false
  }
  for (const source of sources.filter((path) => !path.endsWith('.ts'))) copy(source)
  for (const program of PROGRAMS) {
    const path = join(ROOT, 'dist', program)
    if (existsSync(path)) chmodSync(path, 0o755)
  }
  writeFileSync(join(ROOT, STAMP), '')
  console.log(`Built dist/ in ${((Date.now() - started) / 1000).toFixed(1)} s`)
  return true
}

function isFresh(sources) {
  const built = modifiedMs(STAMP)
  const inputs = [...sources, 'tsconfig.json', 'package.json', 'scripts/build.mjs']
  // A removed or renamed source makes nothing newer, but leaves its output behind.
  return inputs.every((path) => modifiedMs(path) <= built) && orphans(sources).length === 0
}

/** Outputs whose source is gone: a deleted test must not go on running. */
function orphans(sources) {
  const wanted = new Set(sources.map((path) => path.replace(/\.ts$/, '.js')))
  return ROOMS.filter((room) => existsSync(join(ROOT, 'dist', room)))
    .flatMap((room) => filesBelow(join('dist', room)))
    .filter((path) => !wanted.has(path.slice('dist/'.length)))
}

function removeOrphans(sources) {
  const found = orphans(sources)
  for (const path of found) rmSync(join(ROOT, path))
  // The compiler believes its own record of what it wrote, so it goes with them.
  if (found.length > 0) rmSync(join(ROOT, 'dist/.tsbuildinfo'), { force: true })
}

function copy(source) {
  const target = join(ROOT, 'dist', source)
  mkdirSync(dirname(target), { recursive: true })
  copyFileSync(join(ROOT, source), target)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  ensureInstalled()
  process.exitCode = build() ? 0 : 1
}
