import { statSync } from 'node:fs'
import { request } from 'node:http'
import { connect, type NetConnectOpts } from 'node:net'
import type { Clock } from '../init/clock.js'
import type { Probe, Readiness } from './spec.js'

/** The first answers come soon after the start; whoever takes longer is asked less often. */
const FIRST_POLL_MS = 10
const SLOWEST_POLL_MS = 100
const POLL_GROWTH = 1.5
/** One question; a server that accepts and says nothing is asked again. */
const PROBE_TIMEOUT_MS = 1_000

/**
 * Asks until the service answers: with a 2xx for the two kinds of HTTP, by accepting for `tcp`.
 *
 * @param before the {@link fileMark} from before the start.
 * @param notified aborts when the process has written its newline.
 * @returns true when it is ready, false when `limitMs` passed or `signal` aborted first. Never rejects.
 */
export async function untilReady(
  readiness: Readiness,
  limitMs: number,
  clock: Clock,
  signal: AbortSignal,
  before = '',
  notified?: AbortSignal,
): Promise<boolean> {
  const until = clock.now() + limitMs
  if (readiness.kind === 'started') return !signal.aborted
  if (readiness.kind === 'newline') {
    if (notified?.aborted !== true)
      await clock.sleep(limitMs, AbortSignal.any([signal, ...(notified ? [notified] : [])]))
    return notified?.aborted === true && !signal.aborted
  }
  let pauseMs = FIRST_POLL_MS
  for (;;) {
    const leftMs = until - clock.now()
    if (leftMs <= 0 || signal.aborted) return false
    if (await probe(readiness, Math.min(PROBE_TIMEOUT_MS, leftMs), signal, before)) return !signal.aborted
    await clock.sleep(Math.min(pauseMs, until - clock.now()), signal)
    pauseMs = Math.min(SLOWEST_POLL_MS, pauseMs * POLL_GROWTH)
  }
}

/** The descriptor on which the process is to write a newline, if it is to. */
export function readyFd(readiness: Readiness): number | undefined {
  return readiness.kind === 'newline' ? readiness.fd : undefined
}

/** One question, waited for at most `limitMs`. A file that still is as it was `before` is no answer. */
export function probe(readiness: Probe, limitMs: number, signal: AbortSignal, before = ''): Promise<boolean> {
  switch (readiness.kind) {
    case 'file':
      return Promise.resolve(![before, ''].includes(fileMark(readiness)))
    case 'tcp':
      return accepts({ host: readiness.host, port: readiness.port }, limitMs, signal)
    case 'http': {
      const url = new URL(readiness.url)
      return answers({ ...addressOf(url), path: url.pathname + url.search }, limitMs, signal)
    }
    case 'unix-http':
      return answers({ socketPath: readiness.socketPath, path: readiness.path }, limitMs, signal)
  }
}

/** Tells a file from one that was there before; empty when there is none, or readiness is no file. */
export function fileMark(readiness: Readiness): string {
  if (readiness.kind !== 'file') return ''
  const stat = statSync(readiness.path, { throwIfNoEntry: false, bigint: true })
  return stat === undefined ? '' : `${stat.ino}/${stat.ctimeNs}`
}

/**
 * Whether somebody already listens where the service is going to. Asked before the start, because the
 * stranger's answers would be taken for the service's own.
 */
export function isTaken(readiness: Readiness): Promise<boolean> {
  switch (readiness.kind) {
    case 'started':
    case 'newline':
    case 'file':
      return Promise.resolve(false)
    case 'tcp':
      return accepts({ host: readiness.host, port: readiness.port }, PROBE_TIMEOUT_MS)
    case 'http':
      return accepts(addressOf(new URL(readiness.url)), PROBE_TIMEOUT_MS)
    case 'unix-http':
      return accepts({ path: readiness.socketPath }, PROBE_TIMEOUT_MS)
  }
}

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

function accepts(address: NetConnectOpts, limitMs: number, signal?: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(address)
    const finish = (ready: boolean): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      socket.destroy()
      resolve(ready)
    }
    const onAbort = (): void => finish(false)
    const timer = setTimeout(finish, limitMs, false)
    signal?.addEventListener('abort', onAbort, { once: true })
    socket.on('connect', () => finish(true))
    socket.on('error', () => finish(false))
  })
}

interface Question {
  readonly host?: string
  readonly port?: number
  readonly socketPath?: string
  readonly path: string
}

function answers(question: Question, limitMs: number, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = request({ ...question, agent: false, headers: { connection: 'close' } })
    const finish = (ready: boolean): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      asked.destroy()
      resolve(ready)
    }
    const onAbort = (): void => finish(false)
    const timer = setTimeout(finish, limitMs, false)
    signal.addEventListener('abort', onAbort, { once: true })
    asked.on('response', (response) => {
      response.on('error', () => undefined).resume()
      const status = response.statusCode ?? 0
      finish(status >= 200 && status < 300)
    })
    asked.on('error', () => finish(false))
    asked.end()
  })
}
