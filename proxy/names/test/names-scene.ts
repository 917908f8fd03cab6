import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { Resolver } from '../resolver.js'

// Played by names.test in a network of its own, where port 53 is ours: prints what came of it as JSON.

/** Answers for `good*` and for `only.corp.test`, and is silent about the rest. */
async function startNameServer(): Promise<() => void> {
  const server = createSocket('udp4')
  server.on('message', (query, from) => {
    const name = nameIn(query)
    const known = /^good/.test(name) || name === 'only.corp.test'
    if (known) server.send(answerTo(query), from.port, from.address)
    // A name without a dot is tried as it is only where the search domain has not helped.
  })
  server.bind(53, '127.0.0.1')
  await once(server, 'listening')
  return () => server.close()
}

function nameIn(query: Buffer): string {
  const labels: string[] = []
  for (let at = 12; ;) {
    const length = query[at] ?? 0
    if (length === 0) return labels.join('.').toLowerCase()
    labels.push(query.toString('latin1', at + 1, at + 1 + length))
    at += length + 1
  }
}

/** RFC 1035, 4.1: the question again, and 127.0.0.9 where an A was asked for; no other types. */
function answerTo(query: Buffer): Buffer {
  const end = query.indexOf(0, 12) + 5
  const isA = query.readUInt16BE(end - 4) === 1
  const head = Buffer.alloc(12)
  query.copy(head, 0, 0, 2)
  head.writeUInt16BE(0x8180, 2)
  head.writeUInt16BE(1, 4)
  head.writeUInt16BE(isA ? 1 : 0, 6)
  const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 9])
  return Buffer.concat([head, query.subarray(12, end), ...(isA ? [record] : [])])
}

const stop = await startNameServer()
const resolver = new Resolver({ limitMs: 4_000 })
const silent = Array.from({ length: 40 }, (_none, at) => resolver.resolve(`silent${at}.test`))
const outcomes = Promise.allSettled(silent)
const times = await Promise.all(
  Array.from({ length: 20 }, async (_none, at) => {
    const started = performance.now()
    await resolver.resolve(`good${at}.test`)
    return performance.now() - started
  }),
)
const [fromHosts] = await resolver.resolve('written.test')
const [bySearchDomain] = await resolver.resolve('only')
const unanswered = (await outcomes).filter(({ status }) => status === 'rejected').length
resolver.close()
stop()
const scene = { unanswered, slowestMs: Math.max(...times), fromHosts, bySearchDomain }
process.stdout.write(JSON.stringify(scene))
// The lookup of our own cannot be ended.
process.kill(process.pid, 'SIGKILL')
