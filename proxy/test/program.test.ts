import { createHash, randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { stringify } from 'yaml'
import { makeAuthority, openRaw, startHttpOrigin, startHttpsOrigin } from '../../test/lab/harness.js'
import { curl, folder, json, launch, start, type Program } from '../../test/lab/program.js'

// The proxy as it is run: a process, a configuration file, signals.

t.test(
  'it comes up by itself, caches a blob over intercepted TLS, keeps it over a restart, and ends with 0',
  async (t) => {
    const dir = folder(t)
    const originCa = await makeAuthority(join(dir, 'origin-ca'))
    const blob = randomBytes(3_000_000)
    const digest = createHash('sha256').update(blob).digest('hex')
    let fetches = 0
    const { port } = await startHttpsOrigin(t, originCa, 'localhost', (_request, response) => {
      fetches += 1
      response
        .writeHead(200, { 'Content-Length': blob.length, 'Content-Type': 'application/octet-stream' })
        .end(blob)
    })
    const config = { tls: { upstream_ca: [join(dir, 'origin-ca', 'ca.crt')] } }
    const url = `https://localhost:${port}/v2/library/x/blobs/sha256:${digest}`
    const pull = async (program: Program): Promise<string> => {
      const { stdout } = await curl(program, dir, '-o', join(dir, 'got'), '-D', '-', url)
      t.ok(blob.equals(readFileSync(join(dir, 'got'))), 'the bytes are right')
      return stdout
    }

    const first = await start(t, dir, config)
    t.match(await pull(first), /X-Cache: MISS/i)
    const hit = await pull(first)
    t.match(hit, /X-Cache: HIT/i)
    t.match(hit, /X-Cache-Date: \S/i)
    t.match(hit, new RegExp(`Content-Length: ${blob.length}`, 'i'))
    t.match(await json(`http://127.0.0.1:${first.apiPort}/api/cache/stats`), {
      hits: 1,
      misses: 1,
      stores: 1,
      errors: 0,
    })
    t.strictSame(await json(`http://127.0.0.1:${first.apiPort}/health`), {
      status: 'ok',
      ca_cert: join(dir, 'proxy', 'certs', 'ca.crt'),
    })
    const caBefore = readFileSync(join(dir, 'proxy', 'certs', 'ca.crt'), 'utf8')
    first.process.kill('SIGTERM')
    t.equal(await first.ended(), 0)

    const second = await start(t, dir, config)
    t.match(await pull(second), /X-Cache: HIT/i)
    t.equal(readFileSync(join(dir, 'proxy', 'certs', 'ca.crt'), 'utf8'), caBefore, 'the CA is the same')
    t.equal(fetches, 1)
    await fetch(`http://127.0.0.1:${second.apiPort}/api/cache`, { method: 'DELETE' })
    t.match(await pull(second), /X-Cache: MISS/i)
    t.equal(fetches, 2)
    second.process.kill('SIGINT')
    t.equal(await second.ended(), 0)
  },
)

t.test(
  'SIGHUP applies lists and headers without dropping a connection; a broken file changes nothing',
  async (t) => {
    const dir = folder(t)
    const { port } = await startHttpOrigin(
      t,
      (request, response) => void response.end(`x=${String(request.headers['x-added'])}`),
    )
    const program = await start(t, dir, {})
    const request = `GET http://localhost:${port}/ HTTP/1.1\r\nHost: localhost:${port}\r\n\r\n`
    const client = await openRaw(t, program.port, request)
    await client.until(/x=undefined$/)

    const file = join(dir, 'config.yaml')
    const rule = {
      headers: { localhost: { set: { 'X-Added': 'yes' }, insecure: true } },
      blocklist: { domains: ['bad.test'] },
    }
    writeFileSync(file, stringify({ proxy: { port: 0, api_port: 0 }, ...rule }))
    program.process.kill('SIGHUP')
    await program.logged(/configuration reloaded/)
    client.socket.write(request)
    await client.until(/x=yes$/)
    t.match((await curl(program, dir, 'http://bad.test/')).stdout, /blocklist\.domains/)

    writeFileSync(file, 'blocklist:\n  domainz: []\n')
    program.process.kill('SIGHUP')
    await program.logged(/cannot reload the configuration/)
    t.match(program.log(), /config\.yaml:2:3.*domainz.*did you mean.*domains/)
    t.match((await curl(program, dir, 'http://bad.test/')).stdout, /blocklist\.domains/, 'the old lists stay')
  },
)

t.test('SIGTERM lets what is under way end, and closes what is idle', async (t) => {
  const dir = folder(t)
  const { server, port } = await startHttpOrigin(t, (_request, response) => {
    response.writeHead(200, { 'Content-Length': 10 })
    response.write('first')
    server.once('go on', () => response.end('final'))
  })
  const program = await start(t, dir, {})
  const idle = await openRaw(t, program.port)
  const busy = await openRaw(
    t,
    program.port,
    `GET http://localhost:${port}/ HTTP/1.1\r\nHost: localhost:${port}\r\n\r\n`,
  )
  await busy.until(/first$/)
  program.process.kill('SIGTERM')
  await program.logged(/stopping/)
  // The line is written a moment before the listener closes.
  for (let refused = false; !refused;) {
    refused = await openRaw(t, program.port).then(
      () => false,
      (error: NodeJS.ErrnoException) => error.code === 'ECONNREFUSED',
    )
  }
  server.emit('go on')
  t.match((await busy.closed()).text, /firstfinal$/)
  idle.socket.destroy()
  t.equal(await program.ended(), 0)
})

t.test(
  'what keeps it from starting is said in a sentence, with exit code 1, and nothing is damaged',
  async (t) => {
    const dir = folder(t)
    const taken = createServer()
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
    t.teardown(() => taken.close())
    const { port } = taken.address() as AddressInfo
    const file = join(dir, 'config.yaml')
    const cases: readonly [what: string, text: string, message: RegExp][] = [
      [
        'a port in use',
        `proxy: { port: ${port}, api_port: 0 }`,
        new RegExp(`cannot listen on 127\\.0\\.0\\.1:${port}: another process has it; .* set proxy\\.port`),
      ],
      [
        'an API port in use',
        `proxy: { port: 0, api_port: ${port} }`,
        /another process has it; .* set proxy\.api_port/,
      ],
      ['malformed YAML', 'proxy: [', /config\.yaml:1:\d+: /],
      ['an unknown key', 'cache:\n  max_sise: 1\n', /config\.yaml:2:3: .*max_sise.*did you mean.*max_size/],
      ['a bad regular expression', "cache:\n  patterns: ['(']\n", /config\.yaml:2:\d+: .*cache\.patterns/],
      [
        'a missing upstream CA',
        'proxy: { port: 0, api_port: 0 }\ntls: { upstream_ca: [/nowhere.pem] }',
        /\/nowhere\.pem/,
      ],
    ]
    for (const [what, text, message] of cases) {
      writeFileSync(file, text)
      const program = launch(t, ['--config', file], { DISCOBOT_DATA_DIR: dir })
      t.equal(await program.ended(), 1, what)
      t.match(program.log(), message, what)
      t.notMatch(program.log(), /\n\s+at /, 'no stack trace')
    }
    const missing = launch(t, ['-config', join(dir, 'none.yaml')])
    t.equal(await missing.ended(), 1)
    t.match(missing.log(), /none\.yaml.*does not exist/)
    const usage = launch(t, ['--nonsense'])
    t.equal(await usage.ended(), 2)
    t.match(usage.log(), /Usage: discobot-proxy/)
  },
)

t.test('an unreadable CA key is replaced with a warning, and the old one kept', async (t) => {
  const dir = folder(t)
  const first = await start(t, dir, {})
  first.process.kill('SIGTERM')
  await first.ended()
  const key = join(dir, 'proxy', 'certs', 'ca.key')
  writeFileSync(key, 'not a key')
  const second = await start(t, dir, {})
  t.match(
    second.log(),
    /WARN .*made a new CA; clients must trust it.*reason="the key is not a valid unencrypted PEM/,
  )
  t.equal(readFileSync(`${key}.previous`, 'utf8'), 'not a key')
  second.process.kill('SIGKILL')
  t.equal(await second.ended(), 'SIGKILL')
  const third = await start(t, dir, {})
  t.notMatch(third.log(), /made a new CA/, 'also after kill -9 the pair is whole')
  third.process.kill('SIGTERM')
  t.equal(await third.ended(), 0)
})
