/**
 * `npm test [-- PATTERN…]`: installs, builds, lints and runs every test; with patterns, only the test files whose
 * path contains one of them, without the lint. `--node 24` runs them on that Node, `--every-node` on all that are
 * supported (docs/node-versions.md). The last line is `N passed, N failed`, counted in `t.test` blocks. In a whole run,
 * up to three files that fail run once more, alone; what passes only then is named at the end.
 *
 * Each file is a plain `node FILE`: tap's own runner would load its hooks into every process that a test starts.
 */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { build } from './build.mjs'
import { ensureInstalled, filesBelow, ROOMS, ROOT } from './project.mjs'
import { readTap } from './tap-output.mjs'
import { killRunning, runTestFile } from './test-file.mjs'
import { planOf } from './test-plan.mjs'

/** Files at once: most of them wait for processes, and the machines that run this have two cores. */
const JOBS = 2
/** For one file. Those called serial build images, bring up engines and browsers, or run for a minute on purpose. */
const TIMEOUT_MS = 120_000
const SERIAL_TIMEOUT_MS = 900_000
/** Waits for downloads more than for anything else, so it is begun first. */
const LONGEST = 'image.serial.test.js'
/** So many failed files of a whole run are run once more, alone: more is no accident of a busy machine. */
const MOST_AGAIN = 3
const CI = !['', '0', 'false', undefined].includes(process.env.CI)

const totals = { passed: 0, failed: 0, skipped: 0 }
const unsteady = []
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => giveUp(signal))

const { patterns, runs } = planOf(process.argv.slice(2))
ensureInstalled()
if (!build()) {
  console.log('0 passed, 1 failed')
  process.exit(1)
}
if (patterns.length === 0) lint()
const files = ROOMS.flatMap((room) => filesBelow(join('dist', room)))
  .filter((path) => /\/test\/.*\.test\.js$/.test(path))
  .filter((path) => patterns.length === 0 || patterns.some((pattern) => path.includes(pattern)))
const serial = files
  .filter(isSerial)
  .sort((one, other) => Number(other.endsWith(LONGEST)) - Number(one.endsWith(LONGEST)))
for (const { node, serial: withSerial } of runs) {
  console.log(`Node ${node.version}, ${withSerial ? 'all files' : 'all but the serial files'}:`)
  const failures = await runAll(
    files.filter((path) => !isSerial(path)),
    node,
  )
  // After the others, whose time limits are short, and two at a time: one alone leaves half of the machine idle.
  if (withSerial) failures.push(...(await runAll(serial, node)))
  await settle(failures, node)
}
if (unsteady.length > 0) {
  console.log('Passed only when they ran again alone; mend them or what they found:')
  for (const name of unsteady) console.log(`  ${name}`)
}

if (totals.passed + totals.failed + totals.skipped === 0) {
  console.log(patterns.length === 0 ? 'There are no tests.' : `No test file matches ${patterns.join(' ')}.`)
  process.exitCode = 1
}
if (CI && totals.skipped > 0) console.log('In CI a skipped test is a failure.')
if (totals.failed > 0 || (CI && totals.skipped > 0)) process.exitCode = 1
const skipped = totals.skipped > 0 ? `, ${totals.skipped} skipped` : ''
console.log(`${totals.passed} passed, ${totals.failed} failed${skipped}`)

/** A check that fails counts as one failed test. */
function lint() {
  for (const [name, ...command] of [
    ['eslint', 'node_modules/eslint/bin/eslint.js', '.'],
    ['prettier', 'node_modules/prettier/bin/prettier.cjs', '--check', '--log-level=warn', '.'],
    ['imports', 'scripts/check-imports.mjs'],
    ['exports', 'scripts/check-exports.mjs'],
    ['docs', 'scripts/check-docs.mjs'],
  ]) {
    const started = Date.now()
    const { status } = spawnSync(process.execPath, command, { cwd: ROOT, stdio: 'inherit' })
    report(status === 0, `lint: ${name}`, status === 0 ? 'clean' : 'failed', Date.now() - started)
    if (status !== 0) totals.failed += 1
  }
}

function isSerial(path) {
  return path.endsWith('.serial.test.js')
}

/** Runs the files and counts what passes. @returns the files that failed, with how many of their tests. */
async function runAll(paths, node) {
  const queue = [...paths]
  const failures = []
  const worker = async () => {
    for (let path = queue.shift(); path !== undefined; path = queue.shift()) {
      const failure = await runOne(path, node)
      if (failure !== undefined) failures.push(failure)
    }
  }
  await Promise.all(Array.from({ length: JOBS }, worker))
  return failures
}

async function runOne(path, node) {
  const timeoutMs = isSerial(path) ? SERIAL_TIMEOUT_MS : TIMEOUT_MS
  const { passed, failed, skipped } = summarise(path, node, await runTestFile(path, { node, timeoutMs }))
  if (failed > 0) return { path, passed, failed, skipped }
  count({ passed, failed, skipped })
  return undefined
}

/** Gives a few failed files of a whole run their second chance, and counts the rest. */
async function settle(failures, node) {
  const again = patterns.length === 0 && failures.length <= MOST_AGAIN
  for (const first of failures) {
    if (!again) {
      count(first)
      continue
    }
    console.log(`Again, alone: ${first.path}`)
    const second = await runOne(first.path, node)
    if (second === undefined) unsteady.push(`${first.path.replace(/^dist\//, '')} on Node ${node.version}`)
    else count(second)
  }
}

function count({ passed, failed, skipped }) {
  totals.passed += passed
  totals.failed += failed
  totals.skipped += skipped
}

/** Prints what a file came to. @returns how many of its tests did what. */
function summarise(path, node, { out, err, ms, end }) {
  const { blocks, complete, bail, rest } = readTap(out)
  const inState = (state) => blocks.filter((block) => block.state === state).length
  const failed = blocks.filter((block) => block.state === 'failed')
  const reasons = []
  if (end !== undefined && failed.length === 0) reasons.push(`the file ${end}`)
  if (!complete) reasons.push(bail ?? 'the file ended in the middle')
  if (blocks.length === 0) reasons.push('the file has no tests')
  const counts = {
    passed: inState('passed'),
    failed: failed.length + (reasons.length > 0 ? 1 : 0),
    skipped: inState('skipped'),
  }
  const good = counts.failed === 0
  const parts = [`${counts.passed} passed`]
  if (!good) parts.push(`${counts.failed} failed on Node ${node.version}`)
  if (counts.skipped > 0) parts.push(`${counts.skipped} skipped`)
  report(good, path.replace(/^dist\//, '').replace(/\.js$/, ''), parts.join(', '), ms)
  for (const block of blocks.filter(({ state }) => state === 'skipped')) {
    console.log(`       skipped: ${block.name}${block.reason === '' ? '' : ` (${block.reason})`}`)
  }
  for (const { remarks } of blocks.filter(({ state }) => state !== 'failed')) {
    for (const remark of remarks) console.log(`       ${remark}`)
  }
  for (const block of failed) console.log(indent(block.lines))
  if (good) return counts
  if (reasons.length > 0) console.log(indent([...rest, ...reasons.map((reason) => `✗ ${reason}`)]))
  if (err !== '') console.log(indent(['stderr:', ...err.trimEnd().split('\n')]))
  return counts
}

function report(good, name, what, ms) {
  console.log(`${good ? 'ok  ' : 'FAIL'} ${name.padEnd(44)} ${what}  ${ms} ms`)
}

function indent(lines) {
  return lines.map((line) => (line === '' ? '' : `     │ ${line}`)).join('\n')
}

function giveUp(signal) {
  killRunning()
  console.log(`Stopped by ${signal}.`)
  process.exit(signal === 'SIGINT' ? 130 : 143)
}
