import { statSync } from 'node:fs'
import { request } from 'node:http'
import { connect, type NetConnectOpts } from 'node:net'
import { LOCALHOST_ADDRESSES } from '../../base/net/loopback.js'
import { codeOf, reasonOf } from '../../base/errors.js'
import type { Clock } from '../process/clock.js'
import type { Probe, Readiness } from './spec.js'

/** The first answers come soon after the start; whoever takes longer is asked less often. */
const FIRST_POLL_MS = 10
const SLOWEST_POLL_MS = 100
const POLL_GROWTH = 1.5
/** One question; a server that accepts and says nothing is asked again. */
const PROBE_TIMEOUT_MS = 1_000

/** `because` where there is more to say than that nobody answered. */
export type Answer = { readonly ready: true } | { readonly ready: false; readonly because?: string }

const READY: Answer = { ready: true }
const NOT_READY: Answer = { ready: false }

/**
 * Asks until the service answers: with a 2xx for the two kinds of HTTP, by accepting for `tcp`.
 *
 * @param before the {@link fileMark} from before the start.
 * @param notified aborts when the process has written its newline.
 * @returns not ready when `limitMs` passed or `signal` aborted first, with what the questions met. Never rejects.
 */
export async function untilReady(
  readiness: Readiness,
  limitMs: number,
  clock: Clock,
  signal: AbortSignal,
  before = '',
  notified?: AbortSignal,
): Promise<Answer> {
  const until = clock.now() + limitMs
  if (readiness.kind === 'started') return signal.aborted ? NOT_READY : READY
  if (readiness.kind === 'newline') {
    if (notified?.aborted !== true)
      await clock.sleep(limitMs, AbortSignal.any([signal, ...(notified ? [notified] : [])]))
    return notified?.aborted === true && !signal.aborted ? READY : NOT_READY
  }
  let pauseMs = FIRST_POLL_MS
  let told: Answer = NOT_READY
  for (;;) {
    const leftMs = until - clock.now()
    if (leftMs <= 0 || signal.aborted) return told
    const answer = await probe(readiness, Math.min(PROBE_TIMEOUT_MS, leftMs), signal, before)
    if (answer.ready) return signal.aborted ? NOT_READY : answer
    // The last question has little time left, and may end without an answer that those before it had.
    if (answer.because !== undefined) told = answer
    await clock.sleep(Math.min(pauseMs, until - clock.now()), signal)
    pauseMs = Math.min(SLOWEST_POLL_MS, pauseMs * POLL_GROWTH)
  }
}

/** The descriptor on which the process is to write a newline, if it is to. */
export function readyFd(readiness: Readiness): number | undefined {
  return readiness.kind === 'newline' ? readiness.fd : undefined
}

/**
 * One question, waited for at most `limitMs`. A file that still is as it was `before` is no answer. Never rejects: what
 * is asked comes from files that strangers write, so whatever the system says to it is a reason for not being ready.
 */
export async function probe(
  readiness: Probe,
  limitMs: number,
  signal: AbortSignal,
  before = '',
): Promise<Answer> {
  try {
    return await ask(readiness, limitMs, signal, before)
  } catch (error) {
    return { ready: false, because: reasonOf(error) }
  }
}

function ask(readiness: Probe, limitMs: number, signal: AbortSignal, before: string): Promise<Answer> {
  switch (readiness.kind) {
    case 'file':
      return Promise.resolve([before, ''].includes(markOf(readiness.path)) ? NOT_READY : READY)
    case 'tcp':
      return anyOf(readiness.host, signal, (host, over) =>
        accepts({ host, port: readiness.port }, limitMs, over),
      )
    case 'http': {
      const url = new URL(readiness.url)
      const { host, port } = addressOf(url)
      const question = { port, path: url.pathname + url.search, headers: { host: url.host } }
      return anyOf(host, signal, (one, over) => answers({ ...question, host: one }, limitMs, over))
    }
    case 'unix-http':
      return answers({ socketPath: readiness.socketPath, path: readiness.path }, limitMs, signal)
  }
}

/** Tells a file from one that was there before; empty when there is none to be seen, or readiness is no file. */
export function fileMark(readiness: Readiness): string {
  if (readiness.kind !== 'file') return ''
  try {
    return markOf(readiness.path)
  } catch {
    // Asked again later, and told why then.
    return ''
  }
}

/** @throws the system's error, such as ELOOP, where the path leads nowhere. */
function markOf(path: string): string {
  const stat = statSync(path, { throwIfNoEntry: false, bigint: true })
  return stat === undefined ? '' : `${stat.ino}/${stat.ctimeNs}`
}

/**
 * Whether somebody already listens where the service is going to. Asked before the start, because the
 * stranger's answers would be taken for the service's own. Never rejects.
 */
export async function isTaken(readiness: Readiness): Promise<boolean> {
  try {
    return (await whoListens(readiness)).ready
  } catch {
    // Nobody can be listening at such an address; the service will not be ready there, and told why.
    return false
  }
}

function whoListens(readiness: Readiness): Promise<Answer> {
  const listens = (host: string, port: number): Promise<Answer> =>
    anyOf(host, NEVER, (one, over) => accepts({ host: one, port }, PROBE_TIMEOUT_MS, over))
  switch (readiness.kind) {
    case 'started':
    case 'newline':
    case 'file':
      return Promise.resolve(NOT_READY)
    case 'tcp':
      return listens(readiness.host, readiness.port)
    case 'http': {
      const { host, port } = addressOf(new URL(readiness.url))
      return listens(host, port)
    }
    case 'unix-http':
      return accepts({ path: readiness.socketPath }, PROBE_TIMEOUT_MS, NEVER)
  }
}

const NEVER = new AbortController().signal

/** Where a service is asked, for messages. */
export function describeReadiness(readiness: Readiness): string {
  switch (readiness.kind) {
    case 'started':
      return 'nothing'
    case 'newline':
      return `descriptor ${readiness.fd}`
    case 'file':
      return readiness.path
    case 'tcp':
      return `${readiness.host}:${readiness.port}`
    case 'http':
      return readiness.url
    case 'unix-http':
      return `${readiness.path} on ${readiness.socketPath}`
  }
}

function addressOf(url: URL): { host: string; port: number } {
  // URL keeps the brackets of an IPv6 address, which connect does not take.
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port === '' ? 80 : Number(url.port) }
}

/** Asks each address that the name of a host stands for, side by side, until one of them answers. */
async function anyOf(
  host: string,
  signal: AbortSignal,
  ask: (host: string, over: AbortSignal) => Promise<Answer>,
): Promise<Answer> {
  if (host.toLowerCase() !== 'localhost') return ask(host, signal)
  const over = new AbortController()
  const answers: Answer[] = []
  await Promise.all(
    LOCALHOST_ADDRESSES.map(async (one) => {
      const answer = await ask(one, AbortSignal.any([signal, over.signal]))
      if (!over.signal.aborted) answers.push(answer)
      if (answer.ready) over.abort()
    }),
  )
  return (
    answers.find(({ ready }) => ready) ?? answers.find((answer) => because(answer) !== undefined) ?? NOT_READY
  )
}

function because(answer: Answer): string | undefined {
  return answer.ready ? undefined : answer.because
}

/** For the end of a message: ` (it answered 503)`, or nothing. */
export function inBrackets(answer: Answer): string {
  const reason = because(answer)
  return reason === undefined ? '' : ` (${reason})`
}

/** That nobody listens, or listens yet, is what being not ready means; anything else is worth telling. */
const NOBODY: ReadonlySet<string> = new Set(['ECONNREFUSED', 'ENOENT', 'ECONNRESET'])

function failed(error: Error): Answer {
  return NOBODY.has(codeOf(error) ?? '') ? NOT_READY : { ready: false, because: reasonOf(error) }
}

function accepts(address: NetConnectOpts, limitMs: number, signal: AbortSignal): Promise<Answer> {
  return new Promise((resolve) => {
    const socket = connect(address)
    const finish = (answer: Answer): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      socket.destroy()
      resolve(answer)
    }
    const onAbort = (): void => finish(NOT_READY)
    const timer = setTimeout(finish, limitMs, NOT_READY)
    signal.addEventListener('abort', onAbort, { once: true })
    socket.on('connect', () => finish(READY))
    socket.on('error', (error) => finish(failed(error)))
  })
}

interface Question {
  readonly host?: string
  readonly port?: number
  readonly socketPath?: string
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
}

function answers(question: Question, limitMs: number, signal: AbortSignal): Promise<Answer> {
  return new Promise((resolve) => {
    const headers = { ...question.headers, connection: 'close' }
    const asked = request({ ...question, agent: false, headers })
    const finish = (answer: Answer): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      asked.destroy()
      resolve(answer)
    }
    const onAbort = (): void => finish(NOT_READY)
    const timer = setTimeout(finish, limitMs, NOT_READY)
    signal.addEventListener('abort', onAbort, { once: true })
    asked.on('response', (response) => {
      response.on('error', () => undefined).resume()
      const status = response.statusCode ?? 0
      finish(status >= 200 && status < 300 ? READY : { ready: false, because: `it answered ${status}` })
    })
    asked.on('error', (error) => finish(failed(error)))
    asked.end()
  })
}
