import type { ServerResponse } from 'node:http'
import { whenClosed } from '../../base/http/waiting-answers.js'
import { jsonEntry, type LogEntry } from '../logs/log-entry.js'
import type { LogStore } from '../logs/log-store.js'

/** What `GET /logs` is asked for. */
export interface LogQuestion {
  readonly service?: string
  /** Of what is there already, when `after` is absent. */
  readonly lines: number
  /** What came after the line with this number. */
  readonly after?: number
  /** Goes on with what is said from now on, until the client leaves. */
  readonly follow: boolean
}

/** Lines at a time, so that a long log neither stops the init nor fills its memory. */
const BATCH = 256
/** Of lines that are all to be escaped, some 5 ms. */
const BATCH_CHARACTERS = 64 * 1024

/**
 * Answers with one JSON object a line. A reader that is too slow is not waited for: the lines that it has missed
 * by the time it reads again are replaced by `{"lost":true}`. Resolves when the answer has ended.
 */
export async function streamLogs(
  response: ServerResponse,
  logs: LogStore,
  question: LogQuestion,
): Promise<void> {
  const { service, lines, follow } = question
  response.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' })
  response.flushHeaders()
  const left = new AbortController()
  whenClosed(response, () => left.abort())
  let seq = question.after ?? startOf(logs, lines, service)
  // A number from another life of the agent means nothing now.
  if (seq > logs.seq) seq = 0
  while (!left.signal.aborted) {
    const newest = logs.seq
    const found = logs.after(seq, BATCH, service)
    const batch = sendable(found)
    if (batch.length > 0) {
      const lost = logs.lostAfter(seq, service) ? '{"lost":true}\n' : ''
      seq = batch.at(-1)?.seq ?? seq
      if (!response.write(lost + textOf(batch))) await happens(response, 'drain', left.signal)
      else if (batch.length < found.length || found.length === BATCH) await new Promise(setImmediate)
      continue
    }
    if (!follow) break
    seq = newest
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        forget()
        left.signal.removeEventListener('abort', wake)
        resolve()
      }
      const forget = logs.onAdded(wake)
      left.signal.addEventListener('abort', wake, { once: true })
    })
  }
  response.end()
}

/** The number of the line before the last `lines`. */
function startOf(logs: LogStore, lines: number, service: string | undefined): number {
  const first = logs.last(lines, service)[0]
  return first === undefined ? logs.seq : first.seq - 1
}

/** As many of them as are sent in one turn. */
function sendable(entries: readonly LogEntry[]): readonly LogEntry[] {
  let characters = 0
  const end = entries.findIndex(({ text }) => (characters += text.length) > BATCH_CHARACTERS)
  return end < 0 ? entries : entries.slice(0, Math.max(1, end))
}

function textOf(batch: readonly LogEntry[]): string {
  return batch.map((entry) => `${jsonEntry(entry)}\n`).join('')
}

function happens(response: ServerResponse, event: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    const done = (): void => {
      response.off(event, done)
      signal.removeEventListener('abort', done)
      resolve()
    }
    response.once(event, done)
    signal.addEventListener('abort', done, { once: true })
  })
}
