import { spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { openRaw, startHttpOrigin } from '../../../test/lab/harness.js'
import { curl, folder, json, start, type Program } from '../../../test/lab/program.js'

// Somebody saves the configuration file of a proxy that runs.

const PORTS = 'proxy: { port: 0, api_port: 0 }\n'

/** What the API says, once it says so; a change has a second. */
async function soon(
  program: Program,
  path: string,
  holds: (answer: Record<string, unknown>) => boolean,
): Promise<{ readonly answer: Record<string, unknown>; readonly ms: number }> {
  const began = performance.now()
  for (;;) {
    const answer = await json(`http://127.0.0.1:${program.apiPort}${path}`)
    const ms = performance.now() - began
    if (holds(answer)) return { answer, ms }
    if (ms > 5_000) throw new Error(`${path} still says ${JSON.stringify(answer)}\n${program.log()}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

const blocks =
  (domain: string) =>
  ({ config }: Record<string, unknown>): boolean =>
    (config as { blocklist: { domains: string[] } }).blocklist.domains.includes(domain)

t.test('a save applies within a second, however it is done, and downloads under way go on', async (t) => {
  const dir = folder(t)
  let download: ServerResponse | undefined
  const { port } = await startHttpOrigin(t, (request, response) => {
    if (request.url !== '/download') return void response.end(`x=${String(request.headers['x-added'])}`)
    download = response
    response.writeHead(200, { 'Content-Length': 12 }).write('first-')
  })
  const program = await start(t, dir, PORTS)
  const file = join(dir, 'config.yaml')
  const get = (path: string): string =>
    `GET http://localhost:${port}${path} HTTP/1.1\r\nHost: localhost:${port}\r\n\r\n`
  const running = await openRaw(t, program.port, get('/download'))
  await running.until(/first-$/)
  const idle = await openRaw(t, program.port, get('/'))
  await idle.until(/x=undefined$/)

  const ways: readonly [name: string, save: (text: string) => void][] = [
    ['written in place', (text) => writeFileSync(file, text)],
    [
      'renamed over',
      (text) => {
        writeFileSync(`${file}.swp`, text)
        renameSync(`${file}.swp`, file)
      },
    ],
    [
      'removed and made anew',
      (text) => {
        unlinkSync(file)
        writeFileSync(file, text)
      },
    ],
    [
      'a link turned to another folder, of which the folder of the file hears nothing',
      (text) => {
        mkdirSync(join(dir, 'next'))
        writeFileSync(join(dir, 'next', 'config.yaml'), text)
        symlinkSync(join(dir, 'next', 'config.yaml'), `${file}.link`)
        renameSync(`${file}.link`, file)
      },
    ],
    ['written behind a link', (text) => writeFileSync(join(dir, 'next', 'config.yaml'), text)],
  ]
  for (const [index, [name, save]] of ways.entries()) {
    save(
      `${PORTS}headers: { localhost: { insecure: true, set: { X-Added: v${index} } } }\nblocklist: { domains: [b${index}.test] }\n`,
    )
    const { ms } = await soon(program, '/api/config', blocks(`b${index}.test`))
    t.ok(ms < 1_000, `${name}: ${Math.round(ms)} ms`)
    idle.socket.write(get('/'))
    await idle.until(new RegExp(`x=v${index}$`))
    t.match((await curl(program, dir, `http://b${index}.test/`)).stdout, /blocklist\.domains/)
  }
  t.notMatch(program.log(), /cannot reload/)
  download?.end('second')
  await running.until(/first-second$/)
})

t.test('a broken save changes nothing and says where it is wrong: log, health and API', async (t) => {
  const dir = folder(t)
  const program = await start(t, dir, `${PORTS}blocklist: { domains: [old.test] }\n`)
  const file = join(dir, 'config.yaml')
  const health = { status: 'ok', ca_cert: join(dir, 'proxy', 'certs', 'ca.crt') }
  t.strictSame(await json(`http://127.0.0.1:${program.apiPort}/health`), health)

  writeFileSync(file, `${PORTS}blocklist:\n  domainz: []\n`)
  const { answer, ms } = await soon(program, '/health', ({ config }) => config !== undefined)
  t.ok(ms < 1_000, `${Math.round(ms)} ms`)
  const trouble = {
    state: 'rejected',
    problems: [{ file, line: 3, col: 3, option: 'blocklist.domainz', message: /did you mean "domains"/ }],
    since: /^\d{4}-\d\d-\d\dT/,
  }
  t.match(answer, { ...health, status: 'degraded', config: trouble })
  t.match(await json(`http://127.0.0.1:${program.apiPort}/api/config`), {
    ...trouble,
    config: { blocklist: { domains: ['old.test'] } },
  })
  t.match(program.log(), /cannot reload the configuration; the old one stays .*config\.yaml:3:3: /)
  t.match((await curl(program, dir, 'http://old.test/')).stdout, /blocklist\.domains/)

  writeFileSync(file, `${PORTS}tls: { upstream_ca: [nowhere.pem] }\n`)
  await soon(program, '/health', ({ config }) => JSON.stringify(config).includes('nowhere.pem'))
  t.match(await json(`http://127.0.0.1:${program.apiPort}/health`), {
    config: {
      problems: [{ line: 2, col: 21, option: 'tls.upstream_ca' }],
      since: (answer['config'] as { since: string }).since,
    },
  })

  unlinkSync(file)
  await soon(program, '/health', ({ config }) => JSON.stringify(config).includes('does not exist'))
  writeFileSync(file, `${PORTS}blocklist: { domains: [new.test] }\n`)
  await soon(program, '/api/config', blocks('new.test'))
  t.strictSame(await json(`http://127.0.0.1:${program.apiPort}/health`), health)
  t.match(await json(`http://127.0.0.1:${program.apiPort}/api/config`), { state: 'in force', problems: [] })
})

t.test(
  'a file that is cut off while it is in force changes nothing, even where what is left is right',
  async (t) => {
    const dir = folder(t)
    const text = `${PORTS}blocklist: { domains: [bad.example] }\nallowlist: { enabled: true, domains: [good.example] }\n`
    const program = await start(t, dir, text)
    const file = join(dir, 'config.yaml')
    const isEnabled = ({ config }: Record<string, unknown>) =>
      (config as { allowlist: { enabled: boolean } }).allowlist.enabled
    for (const left of [
      '',
      '\n',
      PORTS,
      text.slice(0, text.indexOf('allowlist')),
      `${PORTS}blocklist:`,
      '# \n',
    ]) {
      writeFileSync(file, left)
      await soon(program, '/health', ({ config }) => config !== undefined)
      const answer = await json(`http://127.0.0.1:${program.apiPort}/api/config`)
      t.ok(blocks('bad.example')(answer) && isEnabled(answer), JSON.stringify(left))
      writeFileSync(file, text)
      await soon(program, '/health', ({ config }) => config === undefined)
    }
    t.match(program.log(), /it is the beginning of the file in force, as if it had been cut off/)
    writeFileSync(file, `${PORTS}...\n`)
    await soon(program, '/api/config', (answer) => !isEnabled(answer))
  },
)

t.test('of twenty rapid saves the last one counts', async (t) => {
  const dir = folder(t)
  const program = await start(t, dir, PORTS)
  const file = join(dir, 'config.yaml')
  for (const pauseMs of [0, 5, 60]) {
    for (let save = 1; save <= 20; save += 1) {
      // All of one length, so that only time stamps tell them apart.
      writeFileSync(file, `${PORTS}blocklist: { domains: [s${pauseMs + 100}-${save + 100}.test] }\n`)
      if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs))
    }
    const { ms } = await soon(program, '/api/config', blocks(`s${pauseMs + 100}-120.test`))
    t.ok(ms < 1_500, `pauses of ${pauseMs} ms: ${Math.round(ms)} ms`)
  }
  t.notMatch(program.log(), /cannot reload/)
})

t.test('cache rules, size and switch apply at once; what needs a restart is named', async (t) => {
  const dir = folder(t)
  const blob = randomBytes(300_000)
  const digest = createHash('sha256').update(blob).digest('hex')
  const { port } = await startHttpOrigin(t, (_request, response) => {
    response.writeHead(200, { 'Content-Length': blob.length }).end(blob)
  })
  const program = await start(t, dir, `${PORTS}cache: { enabled: false }\n`)
  const file = join(dir, 'config.yaml')
  const pull = async (): Promise<string> => {
    const url = `http://localhost:${port}/v2/x/blobs/sha256:${digest}`
    const { stdout } = await curl(program, dir, '-o', '/dev/null', '-D', '-', url)
    return /X-Cache: (\w+)/i.exec(stdout)?.[1] ?? 'none'
  }
  const save = async (cache: string): Promise<Record<string, unknown>> => {
    const { revision } = await json(`http://127.0.0.1:${program.apiPort}/api/config`)
    writeFileSync(file, `${PORTS}cache: ${cache}\n`)
    return (await soon(program, '/api/config', (now) => now['revision'] !== revision)).answer
  }
  t.equal(await pull(), 'none', 'switched off')
  await save('{ enabled: true }')
  t.equal(await pull(), 'MISS', 'switched on, which opens the folder')
  t.equal(await pull(), 'HIT')
  await save("{ patterns: ['^/other/'] }")
  t.equal(await pull(), 'none', 'no rule covers it')
  await save('{ enabled: false }')
  t.equal(await pull(), 'none', 'switched off again')
  await save('{}')
  t.equal(await pull(), 'HIT', 'what was kept is kept')
  await save('{ max_size: 100KB }')
  t.match(await json(`http://127.0.0.1:${program.apiPort}/api/cache/stats`), {
    evictions: 1,
    current_size: 0,
  })
  t.equal(await pull(), 'none', 'larger than the whole cache')
  t.match(await save(`{ dir: ${join(dir, 'elsewhere')} }`), {
    pending_restart: ['cache.dir'],
    config: { cache: { dir: join(dir, 'proxy', 'cache') } },
  })
  t.match(program.log(), /these keys apply at the next start only .*cache\.dir/)
  t.match(await save('{}'), { pending_restart: [] })
})

t.test('level, form and file of the log change while it runs', async (t) => {
  const dir = folder(t)
  const program = await start(t, dir, PORTS)
  const file = join(dir, 'config.yaml')
  const log = join(dir, 'proxy.log')
  const save = async (logging: string): Promise<void> => {
    const { revision } = await json(`http://127.0.0.1:${program.apiPort}/api/config`)
    writeFileSync(file, `${PORTS}logging: ${logging}\n`)
    await soon(program, '/api/config', (now) => now['revision'] !== revision)
  }
  await save('{ format: json }')
  await program.logged(/^\{"level":"info".*configuration reloaded"\}$/m)
  await save('{ level: error }')
  const before = program.log()
  await curl(program, dir, 'http://169.254.169.254/')
  t.equal(program.log(), before, 'not even a warning')
  await save('{ file: proxy.log }')
  t.match(readFileSync(log, 'utf8'), /configuration reloaded/)
  renameSync(log, `${log}.1`)
  program.process.kill('SIGHUP')
  await soon(program, '/api/config', () => spawnSync('test', ['-e', log]).status === 0)
  t.match(readFileSync(log, 'utf8'), /configuration reloaded/, 'a log that was moved away is begun again')
  writeFileSync(file, `${PORTS}logging: { file: /nowhere/proxy.log }\n`)
  const { answer } = await soon(program, '/health', ({ config }) => config !== undefined)
  t.match(answer, { config: { problems: [{ line: 2, option: 'logging.file', message: /ENOENT/ }] } })
})
