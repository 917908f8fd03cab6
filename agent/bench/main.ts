import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { cpus, loadavg, tmpdir } from 'node:os'
import { delimiter, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { contestants, type Contestant } from './contestants.js'
import { BenchError } from './errors.js'
import {
  AGENT,
  bootOnce,
  install,
  superviseOnce,
  type BootSample,
  type SupervisionSample,
} from './measures.js'
import { markdownTable, median } from './table.js'

const USAGE = `Usage: npm run bench:agent [-- --rounds N]

Process 1 beside tini with a script, s6 and supervisord, as Debian has them, and the warm boot of the whole container
beside "node -e 0". As root on Linux; prints Markdown.

      --rounds N   of everything, in another order each (5)
`

const MIB = 1024 * 1024
/** Of the issue that asked for this benchmark. */
const MAX_BOOT_RATIO = 6
const MAX_HANDOVER_MS = 10
const MAX_EXIT_MS = 50
const MAX_RSS_MIB = 70

async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: { rounds: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
  })
  if (values.help === true) return void process.stdout.write(USAGE)
  const rounds = Number(values.rounds ?? 5)
  if (!Number.isSafeInteger(rounds) || rounds < 1) throw new BenchError('--rounds takes a number from 1')
  const project = resolve(dirname(fileURLToPath(import.meta.url)), '../../..')
  const bundle = join(project, 'dist/bundle')
  if (!existsSync(join(bundle, 'agent.cjs')))
    throw new BenchError('there is no dist/bundle; run "npm run bundle" first')
  const readOnly = [project, dirname(process.execPath)]

  const load = loadavg()[0] ?? 0
  say(
    `${cpus().length} cores of ${cpus()[0]?.model ?? 'an unknown machine'}, Node ${process.version}, load ${load.toFixed(2)} before the run, medians of ${rounds}\n`,
  )
  say(await boots(rounds, bundle, readOnly))
  say(await supervision(rounds, bundle, readOnly))
}

async function boots(rounds: number, bundle: string, readOnly: readonly string[]): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'discobot-bench-'))
  try {
    const once = (): Promise<BootSample> => bootOnce(process.execPath, bundle, folder, readOnly)
    // The first one makes the CA and the rest of what a warm one finds.
    await once()
    const samples: BootSample[] = []
    for (let round = 0; round < rounds; round += 1) samples.push(await once())
    const of = (value: (sample: BootSample) => number): number => median(samples.map(value))
    const ratio = of(({ apiMs }) => apiMs) / of(({ nodeMs }) => nodeMs)
    return markdownTable(
      ['warm boot of the whole container, without Docker', 'median', 'at most'],
      [
        ['`node -e 0`', `${of(({ nodeMs }) => nodeMs).toFixed(0)} ms`, ''],
        ['process 1 started → agent API answers', `${of(({ apiMs }) => apiMs).toFixed(0)} ms`, ''],
        ['… in times of `node -e 0`', ratio.toFixed(1), String(MAX_BOOT_RATIO)],
        ['… → and has answered `/api/status` as well', `${of(({ statusMs }) => statusMs).toFixed(0)} ms`, ''],
        [
          'dependency ready → dependent started, the longest',
          `${of(({ handoverMs }) => handoverMs).toFixed(0)} ms`,
          `${MAX_HANDOVER_MS} ms`,
        ],
        [
          'last process ended → process 1 ended',
          `${of(({ exitMs }) => exitMs).toFixed(0)} ms`,
          `${MAX_EXIT_MS} ms`,
        ],
        [
          'process 1, resident',
          `${(of(({ rssBytes }) => rssBytes) / MIB).toFixed(0)} MiB`,
          `${MAX_RSS_MIB} MiB`,
        ],
      ],
    )
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function supervision(rounds: number, bundle: string, readOnly: readonly string[]): Promise<string> {
  const all = contestants(process.execPath, AGENT, install(bundle)).filter(isInstalled)
  const samples = new Map(all.map(({ name }) => [name, [] as SupervisionSample[]]))
  for (let round = 0; round < rounds; round += 1) {
    for (const contestant of rotated(all, round)) {
      const folder = mkdtempSync(join(tmpdir(), 'discobot-bench-'))
      try {
        samples.get(contestant.name)?.push(await superviseOnce(contestant, folder, readOnly))
      } finally {
        rmSync(folder, { recursive: true, force: true })
      }
    }
  }
  return markdownTable(
    ['three services', 'start', 'stop', 'memory', 'could end in order'],
    all.map(({ name, packageName }) => {
      const taken = samples.get(name) ?? []
      const of = (value: (sample: SupervisionSample) => number): number => median(taken.map(value))
      return [
        packageName === undefined ? name : `${name} (${versionOf(packageName)})`,
        `${of(({ startMs }) => startMs).toFixed(0)} ms`,
        `${of(({ stopMs }) => stopMs).toFixed(0)} ms`,
        `${(of(({ memoryBytes }) => memoryBytes) / MIB).toFixed(1)} MiB`,
        `${of(({ endedInOrder }) => endedInOrder)} of 3`,
      ]
    }),
  )
}

function isInstalled({ command: [program], packageName }: Contestant): boolean {
  const found =
    packageName === undefined ||
    (process.env['PATH'] ?? '').split(delimiter).some((folder) => existsSync(join(folder, program)))
  if (!found) complain(`${program} is not installed (Debian package ${packageName ?? ''}): left out`)
  return found
}

/** From dpkg's own list: the programs have no common way to be asked. */
function versionOf(name: string): string {
  const status = readFileSync('/var/lib/dpkg/status', 'utf8')
  return new RegExp(`^Package: ${name}$[^]*?^Version: (.+)$`, 'm').exec(status)?.[1] ?? 'version unknown'
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

function complain(text: string): void {
  process.stderr.write(`${text}\n`)
}

function rotated<T>(items: readonly T[], by: number): readonly T[] {
  const at = by % items.length
  return [...items.slice(at), ...items.slice(0, at)]
}

main(process.argv.slice(2)).catch((error: unknown) => {
  complain(error instanceof BenchError ? `bench: ${error.message}` : String((error as Error).stack))
  process.exitCode = 1
})
