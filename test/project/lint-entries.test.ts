import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { ESLint } from 'eslint'
import t from 'tap'

// No floating promise and no bare listener of a server comes in unseen: what is seeded here must be found.

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
/** A file of ours, so that it has its types; the seeds are read as if they stood at its end. */
const PLACE = 'proxy/entry/listener.ts'

const SEEDS: readonly { readonly rule: string; readonly code: string }[] = [
  ...[
    "socket.on('data', () => { work() })",
    "socket.on('data', () => { void work() })",
    "socket.on('data', () => void work())",
    "socket.once('close', () => { work().then(() => undefined) })",
    'setTimeout(() => void work(), 1)',
    'setInterval(() => { void work().finally(() => undefined) }, 1)',
    "process.on('SIGHUP', () => { void work() })",
  ].map((code) => ({ rule: '@typescript-eslint/no-floating-promises', code })),
  ...[
    "socket.on('data', async () => work())",
    "socket.on('data', work)",
    "socket.once('close', () => work())",
    'setTimeout(work, 1)',
    "new AbortController().signal.addEventListener('abort', async () => work())",
  ].map((code) => ({ rule: '@typescript-eslint/no-misused-promises', code })),
  ...[
    'createServer((inner) => inner.destroy())',
    "createServer().on('connection', (inner) => inner.destroy())",
    "http().on('upgrade', (request) => request.socket.destroy())",
    "http().once('request', bare)",
    "http().on('clientError', (_error, inner) => inner.destroy())",
  ].map((code) => ({ rule: 'own/entries-are-guarded', code })),
]

const GUARDED = "http().on('request', entry({ name: 'x', logger, ends: ({ socket }) => socket }, serve))"

t.test('seeded faults are found, each by its rule', async (t) => {
  const text = readFileSync(`${ROOT}${PLACE}`, 'utf8')
  const head = [
    "import type { IncomingMessage, Server as SeededServer } from 'node:http'",
    text,
    'const work = async (): Promise<void> => { await new Promise(setImmediate) }',
    'const serve = async (_request: IncomingMessage): Promise<void> => work()',
    'declare const socket: Socket',
    'declare const logger: Logger',
    'declare const http: () => SeededServer',
    'declare const bare: () => void',
    '',
  ].join('\n')
  const seeded = `${head}${SEEDS.map(({ code }) => code).join('\n')}\n${GUARDED}\n`
  // In CI the parser would read the file from disk instead of the text that it is given.
  const parserOptions = { disallowAutomaticSingleRunInference: true }
  const eslint = new ESLint({ cwd: ROOT, overrideConfig: { languageOptions: { parserOptions } } })
  const [result] = await eslint.lintText(seeded, { filePath: `${ROOT}${PLACE}` })
  const first = head.split('\n').length
  const found = (result?.messages ?? []).map(({ line, ruleId }) => ({ at: line - first, rule: ruleId }))
  for (const [at, { rule, code }] of SEEDS.entries()) {
    t.ok(
      found.some((one) => one.at === at && one.rule === rule),
      `${rule}: ${code}`,
    )
  }
  t.strictSame(
    found.filter(({ at }) => at < 0 || at >= SEEDS.length),
    [],
    'what is guarded is left alone',
  )
})
