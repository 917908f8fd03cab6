import type { ChildRegistry } from '../process/children.js'
import { findOnPath } from '../settings/programs.js'

/** How a program that sets or shows rules has ended. */
interface ProgramEnd {
  /** Absent when it did not start, or was killed. */
  readonly code?: number
  readonly stdout: string
  /** Its first line, or why it did not start. */
  readonly reason: string
}

/** Runs one of them to its end. Never rejects. */
export type RunFilterProgram = (
  program: string,
  args: readonly string[],
  input?: string,
) => Promise<ProgramEnd>

/** They end within 20 ms; one that waits for a lock of the kernel's is not waited for. */
const TIMEOUT_MS = 5_000
/** The whole table with all that it remembers is 200 KiB. */
const MAX_OUTPUT_BYTES = 4 * 1024 * 1024
const MAX_REASON_LENGTH = 200

/** Not the PATH that we were given, which may lead into a workspace: they run as root. */
const SEARCH_PATH = '/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin'

/** Undefined where it is not installed. */
export function findFilterProgram(name: string): string | undefined {
  return findOnPath(name, SEARCH_PATH)
}

/** Not by execa: the first command of a warm boot would pay for reading it. */
export function filterProgramRunner(children: ChildRegistry): RunFilterProgram {
  return (program, args, input) =>
    new Promise((resolve) => {
      const child = children.spawn(program, args, {
        cwd: '/',
        env: { PATH: SEARCH_PATH, LC_ALL: 'C' },
        stdio: ['pipe', 'pipe', 'pipe'],
      })
      const timer = setTimeout(() => child.kill('SIGKILL'), TIMEOUT_MS)
      const out = new Output(() => child.kill('SIGKILL'))
      const err = new Output(() => child.kill('SIGKILL'))
      child.stdout?.on('data', (chunk: Buffer) => out.add(chunk))
      child.stderr?.on('data', (chunk: Buffer) => err.add(chunk))
      // It may end without having read all of it; its exit says why.
      child.stdin?.on('error', () => undefined)
      child.stdin?.end(input ?? '')
      const end = (code: number | null, reason: string): void => {
        clearTimeout(timer)
        resolve({ ...(code === null ? {} : { code }), stdout: out.text(), reason })
      }
      child.once('error', (error) => end(null, error.message))
      child.once('close', (code, signal) => {
        const [line = ''] = err.text().trim().split('\n')
        const otherwise = signal === null ? `it ended with ${code}` : `it was ended by ${signal}`
        end(code, line === '' ? otherwise : line.slice(0, MAX_REASON_LENGTH))
      })
    })
}

class Output {
  readonly #chunks: Buffer[] = []
  #bytes = 0

  constructor(private readonly onTooMuch: () => void) {}

  add(chunk: Buffer): void {
    this.#bytes += chunk.length
    if (this.#bytes > MAX_OUTPUT_BYTES) this.onTooMuch()
    else this.#chunks.push(chunk)
  }

  text(): string {
    return Buffer.concat(this.#chunks).toString('utf8')
  }
}
