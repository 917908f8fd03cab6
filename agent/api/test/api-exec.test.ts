import { existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { execPath } from 'node:process'
import fc from 'fast-check'
import t from 'tap'
import { parseExecRequest } from '../command/exec-request.js'
import { Utf8Chunks } from '../command/utf8-chunks.js'
import { readStat } from '../../process/proc-stat.js'
import {
  ask,
  askJson,
  jsonAsking,
  open,
  startApi,
  type Answer,
  type Api,
} from '../../../test/lab/api-process.js'
import { waitFor } from '../../../test/lab/service-lab.js'

interface Exit {
  readonly code: number | null
  readonly signal: string | null
  readonly reason: string
}

interface Outcome {
  readonly stdout: string
  readonly stderr: string
  readonly exit: Exit
}

async function exec(api: Api, body: object): Promise<Outcome> {
  return outcome(await askJson(api.port, '/api/exec', body))
}

function outcome(answer: Answer): Outcome {
  if (answer.status !== 200) throw new Error(`${answer.status} ${answer.body}`)
  const lines = answer.body.trimEnd().split('\n')
  const events = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
  const said = (stream: string): string =>
    events
      .filter((event) => event['stream'] === stream)
      .map((event) => Buffer.from(String(event['data']), event['encoding'] === 'base64' ? 'base64' : 'utf8'))
      .join('')
  return { stdout: said('stdout'), stderr: said('stderr'), exit: events.at(-1)?.['exit'] as Exit }
}

function isRunning(pid: number): boolean {
  const stat = readStat(pid)
  return stat !== undefined && stat.state !== 'Z'
}

t.test('a command runs in the workspace, its output tagged, its end told', async (t) => {
  const workspace = t.testdir({ sub: { here: 'x' } })
  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: workspace, DISCOBOT_API_TOKEN: '', SEEN: 'yes' })
  const answer = await askJson(api.port, '/api/exec', {
    shell: 'pwd; ls; echo "$SEEN $MORE" >&2; exit 3',
    cwd: 'sub',
    env: { MORE: 'too' },
  })
  t.equal(answer.headers['content-type'], 'application/x-ndjson')
  t.same(outcome(answer), {
    stdout: `${join(workspace, 'sub')}\nhere\n`,
    stderr: 'yes too\n',
    exit: { code: 3, signal: null, reason: 'ended' },
  })
  t.match(await exec(api, { argv: ['cat', '-'], stdin: 'ä\n' }), { stdout: 'ä\n', exit: { code: 0 } })
  t.match(await exec(api, { argv: ['cat'], stdinBase64: Buffer.from('b').toString('base64') }), {
    stdout: 'b',
  })
  t.match(
    await exec(api, { argv: ['cat'] }),
    { stdout: '', exit: { code: 0 } },
    'without stdin there is none',
  )
  t.match(await exec(api, { shell: 'kill -9 $$' }), {
    exit: { code: null, signal: 'SIGKILL', reason: 'ended' },
  })
  t.match(await exec(api, { argv: ['echo', '$HOME; ls'] }), { stdout: '$HOME; ls\n' }, 'no shell for argv')
})

t.test('bytes that are no text come whole, and text that a read cuts stays text', async (t) => {
  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: t.testdir() })
  const answer = await askJson(api.port, '/api/exec', { argv: ['printf', '\\377\\000\\376'] })
  const pieces = [...answer.body.matchAll(/"data":"([^"]+)","encoding":"base64"/g)]
  const bytes = Buffer.concat(pieces.map(([, data]) => Buffer.from(data ?? '', 'base64')))
  t.same(bytes, Buffer.from([0xff, 0, 0xfe]))
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.string({ unit: 'binary' }), fc.constant('😀ä'))),
      fc.nat(7),
      (texts, size) => {
        const bytes = Buffer.from(texts.join(''))
        const chunks = new Utf8Chunks()
        let back = ''
        for (let at = 0; at < bytes.length; at += size + 1) {
          const piece = chunks.take(bytes.subarray(at, at + size + 1))
          if (piece !== undefined && 'encoding' in piece) return false
          back += piece?.data ?? ''
        }
        return chunks.end() === undefined && back === bytes.toString()
      },
    ),
  )
})

t.test('when time runs out nothing is left of the command, wherever it has gone', async (t) => {
  const workspace = t.testdir()
  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: workspace })
  const shell =
    'trap "" TERM; setsid sleep 1000 & echo $!; (sleep 1000 & echo $!; wait) & echo $!; wait; wait'
  const { stdout, exit } = await exec(api, { shell, timeoutMs: 500 })
  t.match(exit, { reason: 'timed-out' })
  const pids = stdout.trim().split('\n').map(Number)
  t.equal(pids.length, 3)
  for (const pid of pids) t.notOk(isRunning(pid), `process ${pid}`)
})

t.test('what a command leaves in the background ends with it, and holds nothing up', async (t) => {
  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: t.testdir() })
  const { stdout, exit } = await exec(api, { shell: 'sleep 1000 & echo $!' })
  t.match(exit, { code: 0, reason: 'ended' })
  t.notOk(isRunning(Number(stdout)))
})

t.test('when the client leaves, so does the command', async (t) => {
  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: t.testdir() })
  const { asked, answer } = await open(
    api.port,
    '/api/exec',
    jsonAsking({ shell: 'setsid sleep 1000 & echo $$ $!; wait' }),
  )
  const pids = await new Promise<number[]>((resolve) => {
    answer.once('data', (chunk: Buffer) => {
      const { data } = JSON.parse(chunk.toString()) as { data: string }
      resolve(data.trim().split(' ').map(Number))
    })
  })
  t.ok(pids.every(isRunning))
  answer.on('error', () => {})
  asked.destroy()
  await waitFor('the end of all', () => !pids.some(isRunning))
})

t.test('a client that reads nothing holds the command up, and is given up in the end', async (t) => {
  const workspace = t.testdir()
  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: workspace, DISCOBOT_API_CLIENT_TIMEOUT: '1' })
  // 64 KiB a line; without backpressure a second is enough for gigabytes.
  const code = `const fs = require('fs'); fs.writeFileSync('blocks', '0'); fs.writeFileSync('pid', String(process.pid)); const block = 'x'.repeat(65536)
    for (let blocks = 1; ; blocks += 1) { fs.writeSync(1, block); fs.writeFileSync('blocks', String(blocks)) }`
  const { answer } = await open(api.port, '/api/exec', jsonAsking({ argv: [execPath, '-e', code] }))
  answer.on('error', () => {})
  answer.pause()
  const pid = Number(
    await waitFor(
      'the command',
      () => existsSync(join(workspace, 'pid')) && readFileSync(join(workspace, 'pid'), 'utf8'),
    ),
  )
  await waitFor('its end', () => !isRunning(pid))
  const blocks = Number(readFileSync(join(workspace, 'blocks'), 'utf8'))
  t.ok(blocks * 65_536 < 32 * 1024 * 1024, `${blocks} blocks of 64 KiB went into buffers`)
})

t.test('so many at once, and the next is told to come again', async (t) => {
  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: t.testdir(), DISCOBOT_API_MAX_COMMANDS: '1' })
  const { asked, answer } = await open(api.port, '/api/exec', jsonAsking({ shell: 'echo; exec sleep 1000' }))
  const refused = await askJson(api.port, '/api/exec', { argv: ['true'] })
  t.match(refused, {
    status: 429,
    headers: { 'retry-after': '1', 'content-type': 'application/problem+json' },
  })
  answer.on('error', () => {})
  asked.destroy()
  // The place is free once the command has ended, which nobody tells.
  let last = 429
  while (last === 429) last = (await askJson(api.port, '/api/exec', { argv: ['true'] })).status
  t.equal(last, 200)
})

t.test('SIGTERM ends commands, says so to their clients, and leaves nothing', async (t) => {
  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: t.testdir() })
  const { answer } = await open(api.port, '/api/exec', jsonAsking({ shell: 'echo $$; exec sleep 1000' }))
  let body = ''
  answer.on('data', (chunk: Buffer) => {
    if (body === '') api.child.kill('SIGTERM')
    body += chunk.toString()
  })
  await new Promise((resolve) => answer.once('end', resolve))
  const [first, last] = body
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { data: string })
  t.same(last, { exit: { code: null, signal: 'SIGTERM', reason: 'stopping' } })
  t.equal(await api.exited, 0)
  t.notOk(isRunning(Number(first?.data)))
})

t.test('what cannot be run is refused, with the reason', async (t) => {
  const workspace = t.testdir({ file: 'x', inside: {} })
  mkdirSync(join(workspace, '..', 'outside'), { recursive: true })
  symlinkSync('../outside', join(workspace, 'out'))
  symlinkSync('inside', join(workspace, 'in'))
  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: workspace })
  t.match(await exec(api, { shell: 'pwd', cwd: './in' }), { stdout: `${join(workspace, 'inside')}\n` })
  for (const [body, status, detail] of [
    [{ argv: ['no-such-program'] }, 422, /cannot run "no-such-program": there is no such program/],
    [{ argv: ['./file'] }, 422, /may not be executed/],
    [{ argv: ['true', 'x'.repeat(2_000_000)] }, 422, /too long/],
    [{ argv: ['pwd'], cwd: 'out' }, 403, /"out" leads out of the workspace/],
    [{ argv: ['pwd'], cwd: '../outside' }, 400, /must not hold "\.\."/],
    [{ argv: ['pwd'], cwd: '/etc' }, 400, /must be relative/],
    [{ argv: ['pwd'], cwd: 'gone' }, 404, /no such file or folder/],
    [{ argv: ['pwd'], cwd: 'file' }, 409, /no folder/],
    [{ argv: [] }, 422, /argv is empty/],
    [{ argv: [''] }, 422, /argv\.0 is empty/],
    [{}, 422, /either argv or shell/],
    [{ argv: ['a'], shell: 'b' }, 422, /either argv or shell/],
    [{ argv: 'ls' }, 422, /argv is no list/],
    [{ argv: ['a\0b'] }, 422, /argv\.0 holds a NUL/],
    [{ shell: 'a', env: { 'A=B': 'c' } }, 422, /no name of a variable/],
    [{ shell: 'a', timeoutMs: 0 }, 422, /timeoutMs is less than 1/],
    [{ shell: 'a', stdin: '', stdinBase64: '' }, 422, /both/],
    [{ shell: 'a', stdinBase64: '!' }, 422, /stdinBase64 is not base64/],
    [{ shell: 'a', time: 1 }, 422, /time is not known/],
    [[], 422, /the body is no JSON object/],
  ] as const) {
    const answer = await askJson(api.port, '/api/exec', body)
    t.equal(answer.status, status, answer.body.slice(0, 200))
    t.match(JSON.parse(answer.body), { status, title: String, detail })
  }
  const json = { 'content-type': 'application/json' }
  for (const [headers, body, status] of [
    [{}, '{}', 415],
    [{ 'content-type': 'text/plain' }, '{}', 415],
    [{ 'content-type': 'application/x-www-form-urlencoded' }, 'a=b', 415],
    [json, '{', 400],
    [json, Buffer.from([0x22, 0xff, 0x22]), 400],
    [{ ...json, 'content-length': '99999999' }, '{}', 413],
    [{ ...json, 'transfer-encoding': 'chunked' }, ' '.repeat(9 * 1024 * 1024), 413],
  ] as const) {
    const answer = await ask(api.port, '/api/exec', { method: 'POST', headers, body })
    t.equal(answer.status, status, `${JSON.stringify(headers)} ${answer.body}`)
  }
})

t.test('the token is in no environment of a command', async (t) => {
  const token = 'not-to-be-found-anywhere'
  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: t.testdir(), DISCOBOT_API_TOKEN: token })
  const asking = jsonAsking({ shell: 'env' })
  const headers = { ...asking.headers, authorization: `Bearer ${token}` }
  const { stdout, exit } = outcome(await ask(api.port, '/api/exec', { ...asking, headers }))
  t.equal(exit.code, 0)
  t.match(stdout, /^DISCOBOT_COMMAND=/m)
  t.notMatch(stdout, token)
  t.notMatch(stdout, /^DISCOBOT_API_TOKEN/m)
})

t.test('no body, however strange, is taken for a command it is not', async () => {
  const word = fc.string({ minLength: 1 }).filter((text) => !text.includes('\0'))
  fc.assert(
    fc.property(fc.array(word, { minLength: 1 }), (argv) => {
      const parsed = parseExecRequest({ argv })
      return JSON.stringify(parsed.argv) === JSON.stringify(argv)
    }),
  )
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      try {
        parseExecRequest(value)
        return false
      } catch (error) {
        return error instanceof Error && error.name === 'RefusedRequestError'
      }
    }),
  )
})
