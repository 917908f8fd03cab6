import { lookup } from 'node:dns'

// A process that does nothing but ask getaddrinfo for others: what it waits for can be ended with it.

/** A question to the process, and its answer; both have the same `id`. */
export interface Question {
  readonly id: number
  readonly host: string
}
export interface Reply {
  readonly id: number
  readonly addresses?: readonly string[]
  readonly code?: string
}

process.on('message', ({ id, host }: Question) => {
  lookup(host, { all: true, verbatim: true }, (error, found) => {
    const reply: Reply =
      error === null
        ? { id, addresses: found.map(({ address }) => address) }
        : { id, code: error.code ?? 'EAI_FAIL' }
    // Nobody is left to be told where this fails.
    process.send?.(reply, undefined, {}, () => undefined)
  })
})
// A plain exit waits for the threads, and those for their names.
process.once('disconnect', () => process.kill(process.pid, 'SIGKILL'))
// A stop of the whole group is the proxy's to order: it still serves what is under way.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined)
