import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { silentLogger } from '../../base/log/logger.js'
import { isolate, type Isolated } from '../isolate/launch.js'
import { fetchStatus } from '../control/client.js'
import { SERVICES, type Contestant } from './contestants.js'
import { BenchError } from './errors.js'
import { startClock } from './stopwatch.js'
import { processesOf, type ProcessView } from './tree.js'

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
/** Longer than anything here should take. */
const LIMIT_MS = 60_000
/** Node returns what its start needed only after a while. */
const SETTLE_MS = 2_000

export interface SupervisionSample {
  /** From the start of process 1 until all three services run. */
  readonly startMs: number
  /** From SIGTERM until nothing of the container is left. */
  readonly stopMs: number
  /** Process 1 and its helpers, without the services: bytes, proportional. */
  readonly memoryBytes: number
  /** Services that could finish their work. */
  readonly endedInOrder: number
}

/** One life of a container in an empty folder: start three services, stand still, stop. */
export async function superviseOnce(
  { command, env, arrange, prepare }: Contestant,
  folder: string,
  readOnly: readonly string[],
): Promise<SupervisionSample> {
  arrange(folder)
  const waits = SERVICES.map((name) => `until [ -e /.data/up-${name} ]; do pause; done`).join('\n')
  const watching = startClock(`${waits}\nnote running`)
  const container = await begin({ command, env, folder, readOnly, prepare: prepare + watching })
  await appears(folder, 'running', container)
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS))
  const helpers = processesOf(container.pid).filter((process) => !isOfService(process))
  const from = performance.now()
  container.signal('SIGTERM')
  await container.exited
  return {
    startMs: between(folder, 'started', 'running'),
    stopMs: performance.now() - from,
    memoryBytes: helpers.reduce((sum, { pssBytes }) => sum + pssBytes, 0),
    endedInOrder: SERVICES.filter((name) => existsSync(join(folder, `ended-${name}`))).length,
  }
}

function isOfService({ command }: ProcessView): boolean {
  return /^(?:\/bin\/sh )?\/\.data\/service |^sleep /.test(command)
}

export interface BootSample {
  /** `node -e 0`, started by the same shell. */
  readonly nodeMs: number
  /** From the start of process 1 until the agent API has answered for the first time: `/health`. */
  readonly apiMs: number
  /** … and then the question that has it ask git, the proxy and process 1: `/api/status`. */
  readonly statusMs: number
  /** From a step's end to the start of what waited for it: the longest of the boot. */
  readonly handoverMs: number
  /** From the end of the last service's process until process 1 has ended. */
  readonly exitMs: number
  /** Of process 1, resident. */
  readonly rssBytes: number
}

/** A boot of the whole container without Docker, and its end. `folder` is warm when it has seen one before. */
export async function bootOnce(
  node: string,
  bundle: string,
  folder: string,
  readOnly: readonly string[],
): Promise<BootSample> {
  for (const name of ['started', 'up', 'told', 'node-started', 'node-ended'])
    rmSync(join(folder, name), { force: true })
  const ask = String.raw`ask() {
  until { exec {api}<>/dev/tcp/127.0.0.1/3002; } 2>/dev/null; do pause; done
  printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$1" >&"$api"
  read -r _ status _ <&"$api"
  [ "$status" = 200 ]
}
ask /health && note up
ask /api/status && note told`
  const baseline = `bash -c 'echo "$EPOCHREALTIME" >/.data/node-started; "${node}" -e 0; echo "$EPOCHREALTIME" >/.data/node-ended'
`
  const container = await begin({
    command: [node, AGENT, 'run'],
    env: { DISCOBOT_DOCKER: 'off' },
    folder,
    readOnly,
    prepare: install(bundle) + baseline + startClock(ask),
  })
  await appears(folder, 'told', container)
  const [pid1, ...services] = processesOf(container.pid)
  const handoverMs = await longestHandover(container)
  container.signal('SIGTERM')
  const exitMs = await exitAfter(services, container)
  return {
    nodeMs: between(folder, 'node-started', 'node-ended'),
    apiMs: between(folder, 'started', 'up'),
    statusMs: between(folder, 'started', 'told'),
    handoverMs,
    exitMs,
    rssBytes: pid1?.rssBytes ?? 0,
  }
}

/** Where the image has it. */
export const AGENT = '/opt/discobot/bin/agent'

/** Shell text that puts the programs of a bundle where the image has them. */
export function installPrograms(bundle: string): string {
  return `mkdir -p /opt/discobot/bin
for program in agent proxy agent-api; do ln -s "${bundle}/$program.cjs" "/opt/discobot/bin/$program"; done
`
}

/** The same with the image's accounts, and without what the image has not. */
export function install(bundle: string): string {
  return `rm -f /etc/ca-certificates/update.d/*
useradd --create-home --user-group --shell /bin/bash discobot
useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin discobot-proxy
${installPrograms(bundle)}`
}

interface Begin {
  readonly command: readonly [string, ...string[]]
  readonly env: Readonly<Record<string, string>>
  readonly folder: string
  readonly readOnly: readonly string[]
  readonly prepare: string
}

function begin({ command, env, folder, readOnly, prepare }: Begin): Promise<Isolated> {
  return isolate({
    command,
    env: { PATH, LANG: 'C.UTF-8', DISCOBOT_DATA_DIR: '/.data', ...env },
    dataDir: folder,
    readOnly,
    hostname: 'bench',
    network: 'loopback',
    output: 'pipe',
    prepare,
    logger: silentLogger,
  })
}

/** Steps whose needs are these alone, so that nothing else can hold them up (docs/architecture.md). */
const NEEDS: Readonly<Record<string, readonly string[]>> = {
  workspace: ['home'],
  trust: ['ca'],
  proxy: ['proxy-config', 'trust'],
  profile: ['proxy'],
  'agent-api': ['profile'],
}

async function longestHandover({ pid }: Isolated): Promise<number> {
  const { boot } = await fetchStatus(`/proc/${pid}/root/run/discobot/agent.sock`)
  const steps = new Map(boot.map((step) => [step.name, step]))
  const gaps = Object.entries(NEEDS).flatMap(([name, needs]) => {
    const started = steps.get(name)?.startedMs
    const ends = needs.map((need) => {
      const step = steps.get(need)
      return step?.startedMs === undefined || step.tookMs === undefined
        ? undefined
        : step.startedMs + step.tookMs
    })
    if (started === undefined || ends.includes(undefined)) return []
    return [started - Math.max(...ends.map((end) => end ?? 0))]
  })
  return Math.max(...gaps)
}

/** Looks without pause, as a timer of a millisecond would be wrong by as much. */
async function exitAfter(services: readonly ProcessView[], { exited }: Isolated): Promise<number> {
  let lastSeen = performance.now()
  let over = false
  const looking = (async () => {
    while (!over && services.some(({ pid }) => existsSync(`/proc/${pid}`))) {
      lastSeen = performance.now()
      await new Promise(setImmediate)
    }
  })()
  await exited
  const exitMs = performance.now() - lastSeen
  over = true
  await looking
  return exitMs
}

/** Resolves when a file is there. @throws BenchError after a minute. */
async function appears(folder: string, name: string, container: Isolated): Promise<void> {
  const deadline = performance.now() + LIMIT_MS
  let ended: number | undefined
  void container.exited.then((code) => (ended = code))
  let output = ''
  for (const stream of [container.stdout, container.stderr])
    stream.on('data', (piece: Buffer) => (output = (output + piece.toString()).slice(-4000)))
  while (!existsSync(join(folder, name))) {
    if (ended !== undefined)
      throw new BenchError(`process 1 ended with ${ended} before "${name}":\n${output}`)
    if (performance.now() > deadline)
      throw new BenchError(`there is no "${name}" after ${LIMIT_MS / 1000} s:\n${output}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** Milliseconds between two notes of the stopwatch. */
function between(folder: string, from: string, to: string): number {
  const seconds = (name: string): number => Number(readFileSync(join(folder, name), 'utf8'))
  return (seconds(to) - seconds(from)) * 1000
}
