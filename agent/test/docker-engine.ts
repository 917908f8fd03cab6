import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'

/**
 * Survives the test: what took minutes to make is there the next time. The engine's pid file is in it, so two
 * runs at once do not share it: the second one's engine refuses to start.
 */
export const CACHE = '/var/tmp/discobot-test-cache'

/** The engine of Debian's docker.io, and its client; the machine may have others earlier on its PATH. */
const DOCKERD = '/usr/sbin/dockerd'
const DOCKER = '/usr/bin/docker'
const START_TIMEOUT_MS = 30_000

interface Scope {
  teardown(clean: () => Promise<void> | void): void
}

export interface Result {
  readonly code: number
  /** stdout and stderr as they came. */
  readonly output: string
}

export interface DockerEngine {
  /** Runs the client and waits; rejects with its output when it fails. */
  docker(...args: string[]): Promise<string>
  /** The same, whatever its code. `input` becomes its stdin. */
  tryDocker(args: readonly string[], input?: Readable): Promise<Result>
}

/** A real dockerd of our own that leaves the machine's network alone, stopped with the test. */
export async function startDockerEngine(t: Scope): Promise<DockerEngine> {
  const run = mkdtempSync(join(tmpdir(), 'discobot-dockerd-'))
  t.teardown(() => rmSync(run, { recursive: true, force: true }))
  mkdirSync(CACHE, { recursive: true })
  const socket = join(run, 'docker.sock')
  const engine = spawn(
    'setpriv',
    [
      ...[
        '--pdeathsig',
        'TERM',
        'unshare',
        '--mount',
        DOCKERD,
        '--bridge=none',
        '--iptables=false',
        '--ip-masq=false',
      ],
      ...['--data-root', join(CACHE, 'docker'), '--exec-root', join(run, 'exec')],
      ...['--pidfile', join(CACHE, 'dockerd.pid'), '--host', `unix://${socket}`],
    ],
    { stdio: ['ignore', 'ignore', 'pipe'], detached: true },
  )
  let log = ''
  engine.stderr.setEncoding('utf8').on('data', (chunk: string) => (log = (log + chunk).slice(-20_000)))
  let running = true
  const ended = new Promise<void>((resolve) => {
    engine.once('exit', () => resolve())
    engine.once('error', () => resolve())
  }).then(() => {
    running = false
  })
  t.teardown(async () => {
    engine.kill('SIGTERM')
    await ended
  })
  const giveUpAt = Date.now() + START_TIMEOUT_MS
  while (!(await answers(socket))) {
    if (!running || Date.now() > giveUpAt) throw new Error(`dockerd did not come up:\n${log}`)
  }
  const tryDocker = (args: readonly string[], input?: Readable): Promise<Result> =>
    client(socket, args, input)
  return {
    tryDocker,
    docker: async (...args) => {
      const { code, output } = await tryDocker(args)
      if (code !== 0) throw new Error(`docker ${args.join(' ')} ended with ${code}:\n${output}`)
      return output
    },
  }
}

function client(socket: string, args: readonly string[], input?: Readable): Promise<Result> {
  // The classic builder: Debian's client has no BuildKit beside it.
  const env = {
    PATH: process.env['PATH'] ?? '',
    DOCKER_HOST: `unix://${socket}`,
    DOCKER_BUILDKIT: '0',
    HOME: '/nonexistent',
  }
  const child = spawn(DOCKER, args, { env, stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => (output += chunk))
  }
  if (input !== undefined && child.stdin !== null) {
    // The client that gives up says why itself.
    child.stdin.on('error', () => {})
    input.pipe(child.stdin)
  }
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve({ code: code ?? 137, output }))
  })
}

/** Asks once, 100 ms later than the last time when it was too early. */
function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const tooEarly = (): void => void setTimeout(() => resolve(false), 100)
    const asked = request({ socketPath, path: '/_ping', timeout: 1_000 }, (answer) => {
      answer.resume()
      if (answer.statusCode === 200) resolve(true)
      else tooEarly()
    })
    asked.once('timeout', () => asked.destroy())
    asked.once('error', tooEarly)
    asked.end()
  })
}
