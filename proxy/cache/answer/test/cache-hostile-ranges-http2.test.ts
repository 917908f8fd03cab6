import {
  constants,
  type ClientHttp2Session,
  type OutgoingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2'
import t, { type Test } from 'tap'
import type { ResponseCache } from '../../response-cache.js'
import { openTestCache, until } from '../../../../test/lab/cache-front.js'
import { startProxy } from '../../../../test/lab/harness.js'
import { ASKED, HALF, NO_WHOLES, PARTS, RESTS, WHOLE, type Lie } from './hostile-parts.js'
import { ask, openHttp2, startHttp2Origin, type Reply } from '../../../../test/lab/origins/http2-ends.js'
import { folder } from '../../../../test/lab/program.js'

// As cache-hostile-ranges.test.ts, by an upstream that speaks HTTP/2, where a body also ends without its length, and a
// reset may say that nothing is wrong.

type Answer = (stream: ServerHttp2Stream, range: string | undefined) => void

interface Lab {
  readonly session: ClientHttp2Session
  readonly cache: ResponseCache
}

async function lab(t: Test, answer: Answer): Promise<Lab> {
  const cache = await openTestCache(folder(t))
  const proxy = await startProxy(t, { cache })
  t.teardown(() => cache.close())
  const { port } = await startHttp2Origin(t, proxy, (stream, { range }) => answer(stream, range))
  return { session: await openHttp2(t, proxy, port), cache }
}

function say(stream: ServerHttp2Stream, { status, fields, body }: Lie): void {
  const headers: OutgoingHttpHeaders = { ':status': status }
  // HTTP/2 of Node sends such a field once; whoever forwards two may join them (RFC 9110, 5.3).
  for (const [name, value] of Object.entries(fields)) headers[name] = [value].flat().join(', ')
  stream.respond(headers, { endStream: body === '' })
  if (body !== '') stream.end(body)
}

/** Enough round trips for what came before them to be read, not only received: a reset takes back what was not. */
const ROUND_TRIPS = 20

/** Half of it and a reset. Without `waitForTrailers`, Node's close() would say END_STREAM first. */
function breakOff(stream: ServerHttp2Stream, sized: boolean, code: number): void {
  const length = sized ? { 'content-length': WHOLE.length } : {}
  stream.respond({ ':status': 200, etag: '"a"', ...length }, { waitForTrailers: true })
  stream.write(HALF)
  const goAndCome = (left: number): void => {
    if (left === 0) stream.close(code)
    else stream.session?.ping(() => goAndCome(left - 1))
  }
  goAndCome(ROUND_TRIPS)
}

const truth: Lie = {
  what: 'the truth',
  status: 200,
  fields: { 'Content-Length': String(WHOLE.length), ETag: '"right"' },
  body: WHOLE,
}

/** What a client that knows HTTP holds for the whole. */
const takenForWhole = ({ status, body, ended }: Reply): string | undefined =>
  status === 200 && ended ? body.toString() : undefined

for (const [how, code] of [
  ['with an error', constants.NGHTTP2_INTERNAL_ERROR],
  ['with NO_ERROR', constants.NGHTTP2_NO_ERROR],
] as const) {
  t.test(`the rest of a body that was reset ${how} is taken only where it is all of it`, async (t) => {
    for (const framing of ['length', 'none'] as const) {
      let lie: Lie = truth
      const { session } = await lab(t, (stream, range) => {
        if (lie === truth || range !== undefined) return say(stream, lie)
        breakOff(stream, framing === 'length', code)
      })
      for (const [at, rest] of RESTS.entries()) {
        const { what } = rest
        lie = rest
        const path = `/plain/${framing}-${at}`
        const taken = takenForWhole(await ask(session, { ':path': path }))
        t.ok(taken === undefined || taken === WHOLE, `${framing}: ${what}: ${taken}`)
        lie = truth
        t.equal(
          takenForWhole(await ask(session, { ':path': path })),
          WHOLE,
          `${framing}: ${what}: then right`,
        )
      }
    }
  })
}

t.test('a rest that is right is taken, so that the lies above are refused for what they are', async (t) => {
  const ranges: string[] = []
  const { session, cache } = await lab(t, (stream, range) => {
    if (range === undefined) {
      breakOff(stream, true, constants.NGHTTP2_INTERNAL_ERROR)
      return
    }
    ranges.push(range)
    // What was received and not read yet is gone with the reset.
    const from = Number(/^bytes=(\d+)-$/.exec(range)?.[1])
    stream.respond({
      ':status': 206,
      etag: '"a"',
      'content-range': `bytes ${from}-19/20`,
      'content-length': 20 - from,
    })
    stream.end(WHOLE.slice(from))
  })
  t.equal(takenForWhole(await ask(session, { ':path': '/plain/right' })), WHOLE)
  t.equal(ranges.length, 1)
  await until(() => cache.stats().stores === 1)
})

t.test('what is no whole is relayed as what it says it is, and not kept', async (t) => {
  let lie = truth
  const { session } = await lab(t, (stream) => say(stream, lie))
  for (const [at, answer] of NO_WHOLES.entries()) {
    for (const [how, headers] of Object.entries({ plain: {}, 'from the start': { range: 'bytes=0-' } })) {
      const { what, status } = answer
      lie = answer
      const path = `/plain/${at}-${how.length}`
      t.equal((await ask(session, { ':path': path, ...headers })).status, status, `${what}, ${how}`)
      lie = truth
      t.equal(takenForWhole(await ask(session, { ':path': path })), WHOLE, `${what}, ${how}: then right`)
    }
  }
})

t.test('a part asked for comes from upstream as it is, and nothing of it is kept', async (t) => {
  let lie = truth
  const { session } = await lab(t, (stream) => say(stream, lie))
  for (const [at, part] of PARTS.entries()) {
    lie = part
    const path = `/plain/part-${at}`
    for (const range of ASKED)
      t.equal((await ask(session, { ':path': path, range })).status, part.status, part.what)
    lie = truth
    t.equal(takenForWhole(await ask(session, { ':path': path })), WHOLE, 'then right')
  }
})
