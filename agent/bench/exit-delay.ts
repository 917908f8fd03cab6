/**
 * `node dist/agent/bench/exit-delay.js [ROUNDS]`: how long after its last process the agent ends itself. Each round
 * is an agent of its own, as a guest on this machine, with one service that notes the time and ends at SIGTERM.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execPath } from 'node:process'
import { fileURLToPath } from 'node:url'

const MAIN = fileURLToPath(new URL('../main.js', import.meta.url))
const rounds = Number(process.argv[2] ?? 20)
const delays: number[] = []
for (let round = 0; round < rounds; round += 1) delays.push(await exitDelayMs())
delays.sort((a, b) => a - b)
const at = (part: number): string => (delays[Math.floor((delays.length - 1) * part)] ?? 0).toFixed(1)
process.stdout.write(
  `${rounds} stops: from the end of the last process to the agent's own, median ${at(0.5)} ms, ` +
    `least ${at(0)} ms, most ${at(1)} ms\n`,
)

async function exitDelayMs(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'discobot-exit-'))
  const note = join(folder, 'note')
  // `date` is the last thing it starts, and it ends by itself.
  const work = `trap 'exec date +%s%N > ${note}' TERM; echo at work; while :; do sleep 0.01; done`
  try {
    const child = spawn(execPath, [MAIN, 'run'], {
      env: {
        PATH: process.env['PATH'],
        HOME: folder,
        DISCOBOT_DATA_DIR: join(folder, 'data'),
        DISCOBOT_PROXY: 'off',
        DISCOBOT_AGENT_COMMAND: JSON.stringify(['sh', '-c', work]),
      },
      cwd: folder,
      stdio: ['ignore', 'pipe', 'inherit'],
      // Whatever keeps it from coming up must not keep us.
      timeout: 60_000,
    })
    const ended = new Promise<number>((resolve) => child.once('exit', () => resolve(nowMs())))
    let output = ''
    child.stdout.on('data', (chunk) => {
      const before = output
      output += String(chunk)
      const isUp = (text: string): boolean => text.includes('Discobot is up') && text.includes('at work ')
      if (isUp(output) && !isUp(before)) child.kill('SIGTERM')
    })
    return (await ended) - Number(readFileSync(note, 'utf8')) / 1e6
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** The time of day with parts of a millisecond: what `date` writes is to be taken from it. */
function nowMs(): number {
  return performance.timeOrigin + performance.now()
}
