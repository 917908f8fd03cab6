import t from 'tap'
import { startProxy } from '../../../test/lab/harness.js'
import { admitted, placeOf, type Place, type Way } from './ways.js'
import { Witness } from './witness.js'

// Upgrade and CONNECT take a connection over. One that owes an answer is never taken: what is complete goes out first,
// what is under way ends with a reset, and in no case does the proxy end. Everything here is sent in one packet.

/** One after the other; `reset` where the connection was cut below HTTP. */
type Seen = readonly (number | 'end' | 'reset')[]

interface First {
  readonly what: string
  readonly send: (to: Place) => string
  /** Once it is read, by itself: complete at once, complete and the last one, or still to come from upstream. */
  readonly leaves: 'free' | 'closed' | 'owing'
  readonly answers: readonly number[]
  /** Where a tunnel makes a difference. */
  readonly inTunnel?: Pick<First, 'leaves' | 'answers'>
}

const bare = (line: string): string => `${line} HTTP/1.1\r\n\r\n`

const firsts: readonly First[] = [
  { what: 'nothing', send: () => '', leaves: 'free', answers: [] },
  { what: 'no Host', send: () => bare('GET /'), leaves: 'closed', answers: [400] },
  { what: 'no Host for a star', send: () => bare('OPTIONS *'), leaves: 'closed', answers: [400] },
  {
    what: 'a head that is none',
    send: () => 'GET / HTTP/1.1\r\nX\r\n\r\n',
    leaves: 'closed',
    answers: [400],
  },
  {
    what: 'a star',
    send: ({ at }) => `OPTIONS * HTTP/1.1\r\nHost: ${at}\r\n\r\n`,
    leaves: 'free',
    answers: [400],
    inTunnel: { leaves: 'owing', answers: [200] },
  },
  { what: 'two Hosts', send: (to) => to.request('GET', 'Host: x\r\n'), leaves: 'free', answers: [400] },
  {
    what: 'an expectation',
    send: (to) => to.request('GET', 'Expect: x\r\n'),
    leaves: 'owing',
    answers: [417],
  },
  { what: 'a request', send: (to) => to.request('GET'), leaves: 'owing', answers: [200] },
  {
    what: 'two requests',
    send: (to) => to.request('GET') + to.request('GET'),
    leaves: 'owing',
    answers: [200, 200],
  },
  {
    what: 'a request, and one without Host',
    send: (to) => to.request('GET') + bare('GET /'),
    leaves: 'owing',
    answers: [200, 400],
  },
]

/** What it gets where the connection is free, and whether it asks to take the connection over. */
interface Then {
  readonly what: string
  readonly send: (to: Place) => string
  readonly takes: boolean
  /** Of an answer that has no body for it. */
  readonly method?: string
  readonly answer: (way: Way) => number
}

const upgrade = 'Connection: Upgrade\r\nUpgrade: websocket\r\n'

const thens: readonly Then[] = [
  { what: 'Upgrade', send: (to) => to.request('GET', upgrade), takes: true, answer: () => 200 },
  {
    what: 'Upgrade without Host',
    send: (to) => `GET ${to.url()} HTTP/1.1\r\n${upgrade}\r\n`,
    takes: true,
    answer: () => 400,
  },
  {
    what: 'Upgrade to h2c',
    send: (to) => to.request('GET', 'Connection: Upgrade\r\nUpgrade: h2c\r\n'),
    takes: true,
    answer: () => 200,
  },
  {
    what: 'CONNECT',
    send: ({ at }) => `CONNECT ${at} HTTP/1.1\r\nHost: ${at}\r\n\r\n`,
    takes: true,
    method: 'CONNECT',
    answer: (way) => (way === 'plain' ? 200 : 405),
  },
  {
    what: 'the preface of HTTP/2',
    send: () => 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    takes: false,
    answer: () => 400,
  },
  { what: 'garbage', send: () => '\0\x01garbage\r\n\r\n', takes: false, answer: () => 400 },
]

function expected(first: First, then: Then, way: Way): Seen {
  const { leaves, answers } = way === 'plain' ? first : { ...first, ...first.inTunnel }
  if (leaves === 'closed') return [...answers, 'end']
  if (leaves === 'owing' && then.takes) return ['reset']
  // The answer without Host was the last one.
  if (leaves === 'owing' && answers.includes(400)) return [...answers, 'end']
  return [...answers, then.answer(way), 'end']
}

for (const way of ['plain', 'CONNECT'] as const) {
  t.test(`in one packet, ${way}`, async (t) => {
    const proxy = await startProxy(t)
    const witness = await Witness.start(t, proxy.originAuthority)
    for (const first of firsts) {
      for (const then of thens) {
        const to = placeOf(way, witness, 'origin.test', 'row')
        const conversation = await admitted(t, proxy, way, to.at)
        conversation.send(first.send(to) + then.send(to))
        // Both ends of what it asked for wait for the other; ours is done.
        const wanted = expected(first, then, way)
        const seen: (number | 'end' | 'reset')[] = []
        while (seen.length < wanted.length - 1) {
          const isLast = seen.length === wanted.length - 2
          const answer = await conversation.answer(isLast ? then.method : 'GET')
          if (answer === 'cut') break
          seen.push(answer.status)
        }
        conversation.socket.end()
        const rest = await conversation.rest()
        seen.push(conversation.reset ? 'reset' : 'end')
        t.strictSame({ seen, rest }, { seen: wanted, rest: '' }, `${first.what}, then ${then.what}`)
        conversation.socket.destroy()
      }
    }
    const { status } = await proxy.curl('-x', 'http://$PROXY', `http://origin.test:${witness.httpPort}/after`)
    t.equal(status, 200, 'the next client is served')
  })
}
