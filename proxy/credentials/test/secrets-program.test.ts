import { spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import t, { type Test } from 'tap'
import { stringify } from 'yaml'
import { makeAuthority, startHttpsOrigin } from '../../../test/lab/harness.js'

// Secrets of the proxy as it is run: its environment, its files, its signals, its memory.

const MAIN = fileURLToPath(new URL('../../main.js', import.meta.url))

interface Program {
  readonly pid: number
  log(): string
  /** Resolves once the log matches. */
  logged(pattern: RegExp): Promise<void>
  readonly exitCode: Promise<number | null>
  signal(name: NodeJS.Signals): void
}

function launch(
  t: Test,
  dir: string,
  config: object,
  env: Record<string, string>,
  flags: string[] = [],
): Program {
  writeFileSync(join(dir, 'config.yaml'), stringify({ proxy: { port: 0, api_port: 0 }, ...config }))
  const child = spawn(process.execPath, [...flags, MAIN, '-config', join(dir, 'config.yaml')], {
    env: { PATH: process.env['PATH'], DISCOBOT_DATA_DIR: dir, ...env },
    cwd: dir,
  })
  let log = ''
  const exitCode = new Promise<number | null>((resolve) => child.once('close', resolve))
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exitCode
  })
  const waiting = new Set<() => void>()
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      log += chunk.toString()
      for (const look of waiting) look()
    })
  }
  return {
    pid: child.pid ?? 0,
    log: () => log,
    exitCode,
    signal: (name) => void child.kill(name),
    logged: (pattern) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (!pattern.test(log)) return
          waiting.delete(look)
          resolve()
        }
        waiting.add(look)
        void exitCode.then(() => reject(new Error(`ended before ${String(pattern)}:\n${log}`)))
        look()
      }),
  }
}

interface Place {
  readonly dir: string
  readonly upstreamCa: string
  readonly url: string
  /** The Authorization of each request. */
  readonly seen: (string | undefined)[]
  readonly requests: IncomingMessage[]
}

async function place(t: Test): Promise<Place> {
  const dir = mkdtempSync(join(tmpdir(), 'discobot-secrets-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const authority = await makeAuthority(join(dir, 'origin'))
  const seen: (string | undefined)[] = []
  const requests: IncomingMessage[] = []
  const { port } = await startHttpsOrigin(t, authority, 'localhost', (request, response) => {
    requests.push(request)
    seen.push(request.headers.authorization)
    response.end('ok')
  })
  return { dir, upstreamCa: join(dir, 'origin', 'ca.crt'), url: `https://localhost:${port}/`, seen, requests }
}

async function ask(program: Program, { dir, url }: Place, ...args: string[]): Promise<void> {
  const port = /port=(\d+)/.exec(program.log())?.[1] ?? ''
  const proxy = ['-x', `http://127.0.0.1:${port}`, '--cacert', join(dir, 'proxy', 'certs', 'ca.crt')]
  await execa('curl', ['-sS', '-m', '20', ...proxy, ...args, url], { env: { CURL_CA_BUNDLE: undefined } })
}

const HEADERS = { localhost: { set: { Authorization: 'Bearer ${KEY}' } } }

t.test('SIGHUP reads secrets anew, and one that cannot be had leaves all as it was', async (t) => {
  const where = await place(t)
  const file = join(where.dir, 'key')
  writeFileSync(file, 'first-secret\n', { mode: 0o600 })
  const secrets = { KEY: { hosts: ['localhost'], file: 'key' } }
  const config = { tls: { upstream_ca: [where.upstreamCa] }, secrets, headers: HEADERS }
  const program = launch(t, where.dir, config, {})
  await program.logged(/proxy ready.*\n/)
  await ask(program, where)
  writeFileSync(file, 'second-secret\n')
  program.signal('SIGHUP')
  await program.logged(/configuration reloaded/)
  await ask(program, where)
  chmodSync(file, 0o644)
  program.signal('SIGHUP')
  await program.logged(/cannot reload the configuration.*KEY.*chmod o-rw/)
  await ask(program, where)
  t.strictSame(where.seen, ['Bearer first-secret', 'Bearer second-secret', 'Bearer second-secret'])
  t.notMatch(program.log(), /first-secret|second-secret/)
})

t.test('the API shows no secret, changes none, and sends none further than its hosts', async (t) => {
  const where = await place(t)
  const secrets = { KEY: { hosts: ['localhost'], env: 'VENDOR_KEY' } }
  const config = { tls: { upstream_ca: [where.upstreamCa] }, secrets, headers: HEADERS }
  const program = launch(t, where.dir, config, { VENDOR_KEY: 'hunter2', OTHER: 'hunter2' })
  await program.logged(/proxy ready.*\n/)
  const api = `http://127.0.0.1:${/api_port=(\d+)/.exec(program.log())?.[1]}/api/config`
  const shown = (await (await fetch(api)).json()) as { readonly config: object }
  t.match(shown.config, {
    secrets: { KEY: { hosts: ['localhost'], env: '[redacted]' } },
    headers: { localhost: { set: { Authorization: 'Bearer ${KEY}' } } },
  })
  t.notMatch(JSON.stringify(shown), /hunter2|VENDOR_KEY/)

  const token = readFileSync(join(where.dir, 'proxy', 'api-token'), 'utf8').trim()
  const change = async (method: 'PATCH' | 'PUT', body: object): Promise<readonly [number, string]> => {
    const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' }
    const answer = await fetch(api, { method, headers, body: JSON.stringify(body) })
    return [answer.status, await answer.text()]
  }
  const stolen = { headers: { 'evil.test': { set: { 'X-A': '${KEY}' } } } }
  t.match(await change('PATCH', stolen), [422, /the rule reaches hosts to which secret .*KEY.* may not go/])
  const moved = { secrets: { KEY: { hosts: ['localhost', 'evil.test'] } } }
  t.match(await change('PATCH', moved), [422, /only the file may change it/])
  t.match(await change('PATCH', { secrets: { NEW: { hosts: ['evil.test'], env: 'OTHER' } } }), [422])
  t.match(await change('PUT', {}), [422, /only the file may change it/])
  const rule = { localhost: { set: { Authorization: 'Basic ${KEY}' } } }
  t.match(await change('PATCH', { headers: rule }), [200])
  await ask(program, where)
  t.match(await change('PUT', { ...config, proxy: {}, headers: HEADERS }), [200])
  await ask(program, where)
  t.strictSame(where.seen, ['Basic hunter2', 'Bearer hunter2'])

  // What cannot be had is told at its place.
  const broken = { ...config, secrets: { ...secrets, LATE: { hosts: ['localhost'], file: 'late' } } }
  writeFileSync(join(where.dir, 'config.yaml'), stringify({ proxy: { port: 0, api_port: 0 }, ...broken }))
  await program.logged(/config\.yaml:\d+:\d+: option ."secrets\.LATE.*it does not exist/)
  writeFileSync(join(where.dir, 'late'), 'hunter2', { mode: 0o600 })
  program.signal('SIGHUP')
  await program.logged(/configuration reloaded/)
  t.notMatch(program.log(), /hunter2/)
})

t.test('a start without its secrets ends with 1 and names them all, and no value', async (t) => {
  const where = await place(t)
  const secrets = {
    KEY: { hosts: ['localhost'] },
    OTHER: { hosts: ['localhost'], file: '/nonexistent/other' },
    LINES: { hosts: ['localhost'], env: 'MY_LINES' },
  }
  const program = launch(t, where.dir, { secrets, headers: HEADERS }, { MY_LINES: 'hunter2\nhunter2' })
  t.equal(await program.exitCode, 1)
  t.match(program.log(), /cannot use the secrets: KEY: .* OTHER: .*\/nonexistent\/other.* LINES: /)
  t.notMatch(program.log(), /hunter2/)
})

t.test('a heap snapshot after traffic shows no secret, nor any header made of one', async (t) => {
  const where = await place(t)
  const config = {
    tls: { upstream_ca: [where.upstreamCa] },
    secrets: {
      KEY: { hosts: ['localhost'], placeholder: 'some-placeholder', placeholder_headers: ['X-Api-Key'] },
    },
    headers: HEADERS,
  }
  const env = { KEY: 'hunter2-hunter2' }
  const program = launch(t, where.dir, config, env, ['--heapsnapshot-signal=SIGUSR2'])
  await program.logged(/proxy ready.*\n/)
  for (let count = 0; count < 5; count += 1) await ask(program, where, '-H', 'X-Api-Key: some-placeholder')
  t.equal(where.seen.at(-1), 'Bearer hunter2-hunter2')
  t.equal(where.requests.at(-1)?.headers['x-api-key'], 'hunter2-hunter2')
  program.signal('SIGUSR2')
  const snapshot = (): string | undefined =>
    readdirSync(where.dir).find((name) => name.endsWith('.heapsnapshot'))
  while (snapshot() === undefined) await new Promise((resolve) => setTimeout(resolve, 50))
  // The loop stands still while it is written: who is answered again finds it whole.
  await ask(program, where)
  const text = readFileSync(join(where.dir, snapshot() ?? ''), 'latin1')
  t.match(text.slice(0, 200), /"snapshot"/)
  t.ok(text.includes('placeholder_headers'), 'it does hold the configuration')
  t.notOk(text.includes('hunter2'))
  t.notOk(text.includes(Buffer.from('hunter2-hunter2').toString('base64').slice(0, 18)))
})
