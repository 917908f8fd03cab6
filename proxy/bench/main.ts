import { accessSync, constants } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { availableParallelism, cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { reasonOf } from '../../base/errors.js'
import { BenchError, UsageError } from './stage/errors.js'
import { parseOptions, USAGE, type BenchOptions } from './options.js'
import { PEER_NAMES } from './peers/peer.js'
import { judge } from './requirements.js'
import { Results } from './results.js'
import { hostsFile } from './stage/hosts.js'
import { HOSTS_PER_ROUND, runBench } from './run.js'
import { runInSandbox } from './stage/sandbox.js'
import { Stage } from './stage/stage.js'
import { COLOURS, PLAIN, renderTable, renderVerdicts } from './table.js'

/** A whole run takes about five; whatever hangs is not waited for longer. */
const LIMIT_MS = 10 * 60 * 1000

/** Proxy, client and origin want a core each; a machine that has work of its own gives them less. */
const BUSY_LOAD = 0.5

/** Set where we run in the sandbox already. */
const INSIDE = 'DISCOBOT_BENCH_INSIDE'

async function main(args: readonly string[]): Promise<number> {
  const options = parseOptions(args)
  if (options.help) {
    process.stdout.write(USAGE)
    return 0
  }
  if (process.env[INSIDE] === '1') return measure(options)
  return runInSandbox({
    command: [process.execPath, fileURLToPath(import.meta.url), ...args],
    hosts: hostsFile(options.rounds * HOSTS_PER_ROUND),
    env: { ...process.env, [INSIDE]: '1' },
  })
}

async function measure(options: BenchOptions): Promise<number> {
  let over = false
  // What fails because its peer is being stopped is not worth a line.
  const say = (line: string): void => void (over || process.stderr.write(`${line}\n`))
  const stage = await Stage.open()
  const ended = new Promise<number>((resolve) => {
    const end = (why: string, code: number): void => {
      say(`stopped: ${why}`)
      over = true
      resolve(code)
    }
    // Not once: they often come twice, from the terminal and from whoever started us.
    process.on('SIGINT', () => end('SIGINT', 130))
    process.on('SIGTERM', () => end('SIGTERM', 143))
    setTimeout(() => end(`not done after ${LIMIT_MS / 60_000} minutes`, 1), LIMIT_MS).unref()
  })
  const results = new Results()
  const find = (program: string): string | undefined => findProgram(program, process.env['PATH'] ?? '')
  const loadBefore = loadavg()[0] ?? 0
  try {
    const done = runBench({ stage, results, options, find, say }).then(() => 0)
    const code = await Promise.race([done, ended])
    if (code !== 0) return code
  } finally {
    await stage.clear()
  }
  await report(results, options, loadBefore)
  return 0
}

async function report(results: Results, options: BenchOptions, loadBefore: number): Promise<void> {
  const palette = process.stdout.isTTY ? COLOURS : PLAIN
  const median = results.median.bind(results)
  const busy = loadBefore > BUSY_LOAD ? ' (others are at work here: figures are too low)' : ''
  const machine = `${availableParallelism()} × ${cpus()[0]?.model.trim() ?? 'unknown CPU'}, Node ${process.versions.node}`
  process.stdout.write(
    `\n${machine}, load ${loadBefore.toFixed(1)} before${busy}, ${options.rounds} rounds; 1 MB = 10⁶ bytes\n\n` +
      `${renderTable(median, palette)}\n\n${renderVerdicts(median, palette)}\n`,
  )
  if (options.jsonFile === undefined) return
  const verdicts = judge('discobot', median).map(({ requirement, met, ours, bound }) => ({
    requirement: requirement.text,
    met,
    ours,
    bound,
  }))
  const samples = Object.fromEntries(PEER_NAMES.map((peer) => [peer, results.samples(peer)]))
  const json = {
    machine,
    loadBefore,
    rounds: options.rounds,
    at: new Date().toISOString(),
    samples,
    verdicts,
  }
  await writeFile(options.jsonFile, `${JSON.stringify(json, null, 2)}\n`)
}

/** Servers live in sbin, which is not on everybody's PATH. */
function findProgram(program: string, path: string): string | undefined {
  return [...path.split(':'), '/usr/local/sbin', '/usr/sbin', '/sbin']
    .map((folder) => join(folder, program))
    .find((candidate) => {
      try {
        accessSync(candidate, constants.X_OK)
        return true
      } catch {
        return false
      }
    })
}

main(process.argv.slice(2)).then(
  // Transfers of a run that was stopped may still wait for an answer.
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(
      `${error instanceof BenchError ? reasonOf(error) : String((error as Error).stack)}\n`,
    )
    if (error instanceof UsageError) process.stderr.write(`\n${USAGE}`)
    process.exit(error instanceof UsageError ? 2 : 1)
  },
)
