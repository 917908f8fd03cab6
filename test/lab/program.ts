import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import type { Test } from 'tap'
import { stringify } from 'yaml'

const MAIN = fileURLToPath(new URL('../../proxy/main.js', import.meta.url))

export interface Program {
  readonly process: ChildProcess
  readonly log: () => string
  readonly port: number
  readonly apiPort: number
  /** Resolves once the log matches. */
  logged(pattern: RegExp): Promise<void>
  /** Resolves with the exit code, or the signal's name. */
  ended(): Promise<number | string>
}

export function folder(t: Test): string {
  const dir = mkdtempSync(join(tmpdir(), 'discobot-program-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

export function launch(
  t: Test,
  args: readonly string[],
  env: Record<string, string> = {},
  through: readonly string[] = [],
): Omit<Program, 'port' | 'apiPort'> {
  const [command = process.execPath, ...rest] = [...through, process.execPath, MAIN, ...args]
  const child = spawn(command, rest, { env: { PATH: process.env['PATH'], ...env } })
  t.teardown(() => child.kill('SIGKILL'))
  let log = ''
  child.stdout.on('data', (chunk: Buffer) => (log += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (log += chunk.toString()))
  const ended = new Promise<number | string>((resolve) =>
    child.once('close', (code, signal) => resolve(code ?? signal ?? 'unknown')),
  )
  return {
    process: child,
    log: () => log,
    ended: () => ended,
    logged: (pattern) =>
      new Promise((resolve, reject) => {
        const check = (): void => {
          if (pattern.test(log)) resolve()
        }
        child.stdout.on('data', check)
        void ended.then(() => reject(new Error(`ended before ${String(pattern)}:\n${log}`)))
        check()
      }),
  }
}

/**
 * @param config the file's text, or what it says besides ports that the kernel chooses.
 * @param through a command that runs the program in its own place, as `exec` does.
 */
export async function start(
  t: Test,
  dir: string,
  config: object | string,
  through: readonly string[] = [],
): Promise<Program> {
  const file = join(dir, 'config.yaml')
  const text = typeof config === 'string' ? config : stringify({ proxy: { port: 0, api_port: 0 }, ...config })
  writeFileSync(file, text)
  const program = launch(t, ['-config', file], { DISCOBOT_DATA_DIR: dir }, through)
  await program.logged(/proxy ready.*\n/)
  const [, port, apiPort] = /port=(\d+) api_port=(\d+)/.exec(program.log()) ?? []
  return { ...program, port: Number(port), apiPort: Number(apiPort) }
}

export function curl(
  program: Program,
  dir: string,
  ...args: string[]
): Promise<{ stdout: string; exitCode?: number | undefined }> {
  const proxy = ['-x', `http://127.0.0.1:${program.port}`, '--cacert', join(dir, 'proxy', 'certs', 'ca.crt')]
  return execa('curl', ['-sS', '-m', '20', ...proxy, ...args], {
    reject: false,
    env: { CURL_CA_BUNDLE: undefined },
  })
}

export const json = async (url: string): Promise<Record<string, unknown>> =>
  (await fetch(url)).json() as Promise<Record<string, unknown>>
