import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fail, npmCommand, ROOT } from './project.mjs'

/** Pins the versions, with the digests of what is downloaded. Apart from the project's own: they are 180 MB each. */
const FOLDER = join(ROOT, 'scripts/nodes')
/** Written last, as for the project's own packages. */
const INSTALLED = join(FOLDER, 'node_modules/.installed-from')

/** The Node that `npm test` was started with. */
export const OWN_NODE = { version: process.versions.node, path: process.execPath }

/** The lines of Node that are pinned, such as 24, in order. */
export function pinnedLines() {
  const { optionalDependencies } = JSON.parse(readFileSync(join(FOLDER, 'package.json'), 'utf8'))
  const lines = Object.keys(optionalDependencies).map((name) => Number(/^node(\d+)-/.exec(name)?.[1]))
  return [...new Set(lines)].sort((one, other) => one - other)
}

/** The line of the Dockerfile's default base, which is the Node that ships. */
export function imageLine() {
  const base = /^ARG BASE=node:(\d+)-/m.exec(readFileSync(join(ROOT, 'Dockerfile'), 'utf8'))
  if (base === null)
    fail('cannot tell which Node the image has: the Dockerfile has no line "ARG BASE=node:N-…"')
  return Number(base[1])
}

/** Installs the pinned Nodes if they are not there. */
export function pinnedNode(line) {
  if (!pinnedLines().includes(line)) {
    fail(`cannot test on Node ${line}: scripts/nodes/package.json has ${pinnedLines().join(', ')}`)
  }
  ensureNodes()
  const folder = join(FOLDER, 'node_modules', `node${line}-${process.platform}-${process.arch}`)
  const path = join(folder, 'bin/node')
  if (!existsSync(path)) {
    fail(`cannot test on Node ${line}: npm installed no ${path}; it is for Linux on x64 and arm64`)
  }
  const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  // Some are published with a "v" before it.
  return { version: version.replace(/^v/, ''), path }
}

function ensureNodes() {
  const wanted = createHash('sha256')
    .update(readFileSync(join(FOLDER, 'package-lock.json')))
    .digest('hex')
  if (existsSync(INSTALLED) && readFileSync(INSTALLED, 'utf8') === wanted) return
  console.log(
    'Installing the Nodes that scripts/nodes/package-lock.json names; this takes a minute the first time.',
  )
  const [program, ...before] = npmCommand()
  // They are programs and no more: nothing has to run to install them.
  const { status } = spawnSync(program, [...before, 'ci', '--ignore-scripts', '--no-audit', '--no-fund'], {
    cwd: FOLDER,
    stdio: 'inherit',
  })
  if (status !== 0) fail('cannot install the Nodes: npm ci failed; what it says above is the reason')
  writeFileSync(INSTALLED, wanted)
}
