import type { Test } from 'tap'
import { startProxy, type TestProxy } from '../../../test/lab/harness.js'
import type { Answer, Conversation } from './conversation.js'
import { Witness } from './witness.js'
import { WAYS, admitted, placeOf, type Place, type Way } from './ways.js'

/** What becomes of a request that is sent once the client is where it may send one. */
export interface Expected {
  /** The status of each answer, in order. Empty: the connection is cut without a word. */
  readonly answers: readonly number[]
  /** Whether the connection then serves one more request, or has ended. */
  readonly then: 'served' | 'closed'
  /** What reaches the origin: `POST`, or `POST body`; more than one where more is sent. */
  readonly origin: readonly string[]
}

export interface Row {
  readonly what: string
  readonly send: (to: Place) => string
  /** The method of the first request where the shape of its answer depends on it. */
  readonly method?: string
  readonly expected: Expected
  /** What differs where the request is not in absolute form. */
  readonly inTunnel?: Partial<Expected>
}

export const HOST = 'origin.test'

/** Refused before it means anything: upstream hears nothing, and the connection carries nothing more. */
export const malformed = (status = 400): Expected => ({ answers: [status], then: 'closed', origin: [] })
/** Refused for what it asks for: nothing is unread, so the connection goes on. */
export const refused = (status: number): Expected => ({ answers: [status], then: 'served', origin: [] })
/** Served, and upstream gets just that. */
export const served = (...origin: string[]): Expected => ({
  answers: origin.map(() => 200),
  then: 'served',
  origin,
})

/** Runs every row in every way, each on a connection of its own, one after the other. */
export async function runTable(t: Test, rows: readonly Row[], ways: readonly Way[] = WAYS): Promise<void> {
  const proxy = await startProxy(t)
  const witness = await Witness.start(t, proxy.originAuthority)
  for (const way of ways) {
    await t.test(way, async (t) => {
      for (const [at, row] of rows.entries()) {
        const expected = way === 'plain' ? row.expected : { ...row.expected, ...row.inTunnel }
        const outcome = await outcomeOf(
          t,
          proxy,
          witness,
          placeOf(way, witness, HOST, `${at}`),
          row,
          expected,
        )
        t.strictSame(outcome, expected, row.what)
      }
    })
  }
}

async function outcomeOf(
  t: Test,
  proxy: TestProxy,
  witness: Witness,
  to: Place,
  row: Row,
  expected: Expected,
): Promise<Expected> {
  const conversation = await admitted(t, proxy, to.way, to.at)
  conversation.send(row.send(to))
  const answers: number[] = []
  for (let count = 0; count < Math.max(1, expected.answers.length); count += 1) {
    const answer = await conversation.answer(row.method)
    if (answer === 'cut') break
    answers.push(answer.status)
  }
  const then = await afterwards(conversation, to)
  conversation.socket.destroy()
  const sawNext = then === 'served' ? 1 : 0
  const lines = await witness.taken(expected.origin.length + sawNext)
  const origin = lines
    .filter((line) => sawNext === 0 || line !== `GET ${to.path('/next')}`)
    .map((line) => line.replace(to.path(), '').replace('  ', ' ').replace(/ $/, ''))
  return { answers, then, origin }
}

/** Whether the next request on the connection gets its own answer. Anything else is said as it is. */
async function afterwards(conversation: Conversation, to: Place): Promise<Expected['then']> {
  conversation.send(to.request('GET', '', '', '/next'))
  const answer = await conversation.answer()
  if (answer === 'cut') return 'closed'
  if (isOwn(answer, to)) return 'served'
  throw new Error(`the next request was answered with ${JSON.stringify(answer)}`)
}

function isOwn({ status, body }: Answer, to: Place): boolean {
  return status === 200 && body === to.path('/next')
}
