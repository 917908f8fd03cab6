import { spawn, type ChildProcess } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { request, type ClientRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import { dirname, resolve } from 'node:path'
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export const API_MAIN = resolve(dirname(fileURLToPath(import.meta.url)), '../../agent/api/main.js')

export const GIT_ENV = { PATH: process.env['PATH'] ?? '', HOME: '/nonexistent' }

/** tap's test object, as far as it is needed here. */
export interface Scope {
  teardown(clean: () => Promise<void> | void): void
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
  readonly bytes: Buffer
}

export interface Api {
  readonly child: ChildProcess
  readonly port: number
  readonly exited: Promise<number | null>
}

/** A real agent API on a free port; killed when the test ends. */
export async function startApi(t: Scope, env: Record<string, string> = {}): Promise<Api> {
  const child = spawn(process.execPath, [API_MAIN], {
    env: { ...GIT_ENV, DISCOBOT_AGENT_PORT: '0', DISCOBOT_PROXY_API_PORT: '1', ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve))
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exited
  })
  const port = await new Promise<number>((resolve, reject) => {
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString()
      const found = /agent API ready port=(\d+)/.exec(output)?.[1]
      if (found !== undefined) resolve(Number(found))
    })
    void exited.then((code) => reject(new Error(`ended with ${code}: ${output}`)))
  })
  return { child, port, exited }
}

export interface Asking {
  readonly method?: string
  readonly headers?: Record<string, string>
  readonly body?: string | Buffer
}

export async function ask(port: number, path: string, options: Asking = {}): Promise<Answer> {
  const { answer } = await open(port, path, options)
  const chunks: Buffer[] = []
  for await (const chunk of answer) chunks.push(chunk as Buffer)
  const bytes = Buffer.concat(chunks)
  return { status: answer.statusCode ?? 0, headers: answer.headers, body: bytes.toString(), bytes }
}

/** Asks, and leaves the reading to the test. */
export function open(
  port: number,
  path: string,
  { body, ...options }: Asking = {},
): Promise<{ asked: ClientRequest; answer: IncomingMessage }> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, path, agent: false, ...options }, (answer) =>
      resolve({ asked, answer }),
    )
    asked.once('error', reject)
    asked.end(body)
  })
}

export function askJson(port: number, path: string, body: object, method = 'POST'): Promise<Answer> {
  return ask(port, path, jsonAsking(body, method))
}

export function jsonAsking(body: object, method = 'POST'): Asking {
  return { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
}

/** A repository with one commit on `main`. */
export function repository(path: string): string {
  mkdirSync(path, { recursive: true })
  git(path, 'init', '--quiet', '--initial-branch=main')
  writeFileSync(`${path}/file`, 'content')
  git(path, 'add', 'file')
  git(path, '-c', 'user.name=t', '-c', 'user.email=t@example.com', 'commit', '--quiet', '--message=first')
  return path
}

export function git(path: string, ...args: string[]): string {
  const env = { ...GIT_ENV, GIT_CONFIG_NOSYSTEM: '1' }
  return execFileSync('git', ['-C', path, ...args], { env, encoding: 'utf8' })
}
