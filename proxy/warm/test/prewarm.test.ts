import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import t, { type Test } from 'tap'
import type { JobReport } from '../prewarm-job.js'
import { curl, folder, json, start, type Program } from '../../../test/lab/program.js'
import { WarmRegistry } from './warm-registry.js'

// The promise: what was prewarmed is in the cache, went there by the rules of every other request, and what is not
// there is said to be missing, with the reason.

const MAIN = fileURLToPath(new URL('../../main.js', import.meta.url))

interface Warmed {
  readonly exitCode?: number | undefined
  readonly stdout: string
  readonly stderr: string
}

async function lab(
  t: Test,
  config: object = {},
): Promise<{
  readonly program: Program
  readonly registry: WarmRegistry
  readonly dir: string
  readonly prewarm: (...args: string[]) => Promise<Warmed>
}> {
  const dir = folder(t)
  const program = await start(t, dir, config)
  const registry = await WarmRegistry.start(t)
  const prewarm = (...args: string[]): Promise<Warmed> =>
    execa(process.execPath, [MAIN, 'prewarm', '--api-port', String(program.apiPort), ...args], {
      reject: false,
    })
  return { program, registry, dir, prewarm }
}

/** The last report of `--json`. */
function lastReport({ stdout }: Warmed): JobReport {
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as JobReport
}

void t.test('an image behind tokens and a CDN: the chosen platform and nothing else, once', async (t) => {
  const { program, registry, dir, prewarm } = await lab(t)
  const wanted = registry.putImage([300_000, 5_000_000, 1])
  const other = registry.putImage([1000])
  const index = registry.tagIndex({ 'linux/arm64': other.manifest, 'linux/amd64': wanted.manifest })

  const first = await prewarm(registry.image(), '--platform', 'linux/amd64')
  t.equal(first.exitCode, 0, first.stderr + first.stdout)
  t.match(first.stdout, 'linux/amd64')
  t.match(first.stdout, /done: 6 fetched \(5\.3 MB\)/, 'index, manifest, configuration and three layers')
  t.notMatch(first.stdout, /\u001b/, 'no escape sequences beyond a terminal')
  t.strictSame(registry.leaked, [], 'the token stays with the registry')
  const all = [index, wanted.manifest, wanted.config, ...wanted.layers]
  for (const { digest } of all)
    t.equal(registry.fetches(digest), digest === index.digest ? 1 : registry.fetches(digest))
  t.equal(registry.fetches(other.manifest.digest), 0, 'the other platform was left alone')

  registry.requests.length = 0
  const second = await prewarm(registry.image(), '--platform', 'linux/amd64', '--json')
  t.equal(second.exitCode, 0)
  const [reference] = lastReport(second).references
  t.strictSame([...new Set(reference?.items.map(({ state }) => state))], ['stored'])
  t.match(reference, { platform: 'linux/amd64', state: 'done' })
  t.strictSame(
    registry.requests.filter((line) => !line.includes('/manifests/1') && !line.startsWith('TOKEN')),
    [],
    'only the tag, which may have moved, was asked for again',
  )

  const [layer] = wanted.layers
  const url = registry.url(`/v2/team/app/blobs/${layer?.digest ?? ''}`)
  const { stdout } = await curl(
    program,
    dir,
    '-o',
    '/dev/null',
    '-w',
    '%{size_download} %header{x-cache}',
    url,
  )
  t.equal(stdout, `${layer?.size ?? 0} HIT`)
})

void t.test('URLs, of which one is covered by a rule and one is not', async (t) => {
  const { registry, prewarm } = await lab(t, {
    cache: { rules: [{ name: 'files', match: { path: '^/files/' } }] },
  })
  registry.mischief = (request, response) => {
    if (request.url?.startsWith('/moved') === true) {
      response.writeHead(302, { Location: '/files/one.bin?key=SECRET' }).end()
      return true
    }
    if (!/^\/(?:files|other)\//.test(request.url ?? '')) return false
    response.end('content')
    return true
  }
  const result = await prewarm(
    registry.url('/moved?signature=SECRET'),
    registry.url('/other/two.bin'),
    '--json',
  )
  t.equal(result.exitCode, 0, result.stderr)
  t.strictSame(
    lastReport(result).references.map(({ items }) => items.map(({ state, received }) => [state, received])),
    [[['fetched', 7]], [['not kept', 7]]],
  )
  t.notMatch(result.stdout, 'SECRET', 'signatures are not shown')
  const said = await prewarm(registry.url('/other/two.bin'))
  t.match(said.stdout, 'covered by no rule')
})

void t.test('what cannot be had is named, and the rest is fetched', async (t) => {
  const { registry, prewarm } = await lab(t, { blocklist: { domains: ['blocked.example'] } })
  const good = registry.putImage([2000])
  registry.tagIndex({ 'linux/amd64': good.manifest })
  const config = registry.put(Buffer.from('{}'))
  registry.tag('short', registry.putManifest({ config: { ...config, size: 5 }, layers: [] }))
  registry.tag(
    'missing',
    registry.putManifest({ config: { digest: `sha256:${'0'.repeat(64)}`, size: 1 }, layers: [] }),
  )
  registry.tag('list', registry.put(Buffer.from('[]'), 'application/json'))
  registry.tag(
    'huge',
    registry.put(Buffer.alloc(5 * 1024 * 1024, 0x20), 'application/vnd.oci.image.manifest.v1+json'),
  )
  registry.tag(
    'odd',
    registry.putManifest({ config, layers: [{ digest: 'sha256:../../etc/passwd', size: 1 }] }),
  )

  const cases: readonly (readonly [reference: string, problem: RegExp])[] = [
    [registry.image(':short'), /has 2 bytes, its manifest says 5/],
    [registry.image(':missing'), /404/],
    [registry.image(':list'), /media type "application\/json" is not one of an image's manifest/],
    [registry.image(':huge'), /larger than 4194304 bytes/],
    [registry.image(':odd'), /its manifest is malformed/],
    [registry.image(':none'), /404 no such thing/],
    ['https://blocked.example/x', /403 .*blocked\.example/],
    ['http://127.0.0.1:1/x', /502 .*127\.0\.0\.1:1/],
  ]
  const result = await prewarm(
    '--json',
    '--platform',
    'linux/amd64',
    ...cases.map(([reference]) => reference),
    registry.image(),
  )
  t.equal(result.exitCode, 1)
  const { references, state } = lastReport(result)
  t.equal(state, 'failed')
  cases.forEach(([reference, problem], at) => {
    t.match(references[at]?.problem, problem, reference)
    t.equal(references[at]?.state, 'failed', reference)
  })
  t.match(references.at(-1), { state: 'done' }, 'the last one is there')

  const none = await prewarm(registry.image(), '--platform', 'linux/s390x')
  t.match(none.stdout, 'no image for linux/s390x; there are linux/amd64')
})

void t.test('an upstream that lies about a digest leaves nothing behind', async (t) => {
  const { program, registry, prewarm } = await lab(t)
  const { manifest, layers } = registry.putImage([40_000])
  registry.tag('1', manifest)
  const hex = layers[0]?.digest.slice('sha256:'.length) ?? '-'
  registry.mischief = (request, response) => {
    if (request.url?.includes(`/${hex}?`) !== true) return false
    response.writeHead(200, { 'Content-Length': 40_000 }).end(Buffer.alloc(40_000))
    return true
  }
  const result = await prewarm(registry.image())
  t.equal(result.exitCode, 1)
  t.match(result.stdout, /broke off/)
  t.match(
    await json(`http://127.0.0.1:${program.apiPort}/api/cache/stats`),
    { stores: 2 },
    'manifest and configuration',
  )
})

void t.test('wrong usage and a proxy that is not there', async (t) => {
  const { program, prewarm } = await lab(t)
  t.match(await prewarm(), { exitCode: 2, stderr: /name an image or a URL/ })
  t.match(await prewarm('alpine', '--platform', 'x86'), {
    exitCode: 1,
    stderr: /cannot use "x86" as a platform/,
  })
  t.match(await prewarm('Alpine'), { exitCode: 1, stderr: /"Alpine" is no name of an image/ })
  t.match(await prewarm('https://user:secret@host.example/'), {
    exitCode: 1,
    stderr: /credentials do not belong in a URL/,
  })
  t.match(await prewarm('--nonsense'), { exitCode: 2 })
  const alone = await execa(process.execPath, [MAIN, 'prewarm', 'alpine', '--api-port', '1'], {
    reject: false,
  })
  t.match(alone, { exitCode: 1, stderr: /no proxy answers on 127\.0\.0\.1:1/ })

  const api = `http://127.0.0.1:${program.apiPort}/api/cache/prewarm`
  const post = (body: string, type = 'application/json'): Promise<Response> =>
    fetch(api, { method: 'POST', body, headers: { 'Content-Type': type } })
  t.equal((await post('{"references":["alpine"]}', 'text/plain')).status, 415, 'no web form can start one')
  t.equal((await post('{"reference":"alpine"}')).status, 422)
  t.equal((await post('{"references":[]}')).status, 422)
  t.equal((await post('{')).status, 400)
  t.equal((await fetch(`${api}?id=unknown`)).status, 404)
})

void t.test('Ctrl-C ends the job, and the proxy with it under way stops at once', async (t) => {
  const { program, registry, prewarm } = await lab(t)
  const { manifest, layers } = registry.putImage([40_000])
  registry.tag('1', manifest)
  const hex = layers[0]?.digest.slice('sha256:'.length) ?? '-'
  registry.mischief = (request, response) => {
    if (request.url?.includes(`/${hex}?`) !== true) return false
    response.writeHead(200, { 'Content-Length': 40_000 }).write(Buffer.alloc(1000))
    return true
  }
  const child = spawn(process.execPath, [
    MAIN,
    'prewarm',
    '--api-port',
    String(program.apiPort),
    '--json',
    registry.image(),
  ])
  t.teardown(() => child.kill('SIGKILL'))
  const ended = new Promise((resolve) => child.once('close', resolve))
  let text = ''
  await new Promise<void>((resolve) =>
    child.stdout.on('data', (piece: Buffer) => {
      text += piece.toString()
      if (text.includes('"kind":"layer"') && text.includes('"state":"fetching"')) resolve()
    }),
  )
  child.kill('SIGINT')
  t.equal(await ended, 130)
  t.equal((JSON.parse(text.trim().split('\n').at(-1) ?? '') as JobReport).state, 'cancelled')

  const again = prewarm(registry.image())
  await program.logged(/prewarm started[^\n]*\n[^]*prewarm started/)
  program.process.kill('SIGTERM')
  t.equal(await program.ended(), 0)
  t.equal((await again).exitCode, 1)
})
