import type { LogLevel } from './contract.js'

const PADDED_LEVEL: Readonly<Record<LogLevel, string>> = {
  debug: 'DEBUG',
  info: 'INFO ',
  warn: 'WARN ',
  error: 'ERROR',
}

/** What {@link readableLine} puts in front: the moment and the level. */
export const READABLE_PREFIX = /^\d{4}-\d\d-\d\dT[\d:.]+Z (DEBUG|INFO|WARN|ERROR) +/

/** `2026-11-21T02:41:03.123Z INFO  request    method=GET host=example.com` and its newline. */
export function readableLine(level: LogLevel, message: string, fields: string): string {
  const start = `${moment()} ${PADDED_LEVEL[level]} ${escapeControls(message).padEnd(10)}`
  return fields === '' ? `${start.trimEnd()}\n` : `${start} ${fields}\n`
}

let latestMs = NaN
let latestText = ''

/** Lines come many to a millisecond, and a date's text costs as much as the rest of the line. */
function moment(): string {
  const now = Date.now()
  if (now !== latestMs) {
    latestMs = now
    latestText = new Date(now).toISOString()
  }
  return latestText
}

/** `method=GET host=example.com`; empty when there are none. What is undefined is not said, as in JSON. */
export function readableFields(fields: object): string {
  let text = ''
  for (const [key, value] of Object.entries(fields)) {
    if (value !== undefined) text += `${text === '' ? '' : ' '}${key}=${readableValue(value)}`
  }
  return text
}

/** By code, for C0 without the tab, DEL and C1; the others stay as they are. */
const ESCAPES: readonly (string | undefined)[] = Array.from({ length: 0xa0 }, (_, code) => {
  if (code === 0x09 || (code > 0x1f && code < 0x7f)) return undefined
  const char = String.fromCharCode(code)
  const escaped = JSON.stringify(char).slice(1, -1)
  // JSON leaves DEL and the C1 set as they are, of which 0x9b begins a command as ESC [ does (ECMA-48, 5.3).
  return escaped === char ? `\\u00${code.toString(16)}` : escaped
})
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f-\x9f]/

/**
 * A service's line becomes a message; it may hold what would move a terminal's cursor. By a table, since whoever
 * writes nothing but such characters would have each of them cost a call: 64 KiB of NUL took 12 ms so, and take 1 ms.
 */
export function escapeControls(text: string): string {
  const first = text.search(CONTROL)
  if (first < 0) return text
  let escaped = text.slice(0, first)
  let from = first
  for (let at = first; at < text.length; at += 1) {
    const escape = ESCAPES[text.charCodeAt(at)]
    if (escape === undefined) continue
    if (at > from) escaped += text.slice(from, at)
    escaped += escape
    from = at + 1
  }
  return escaped + text.slice(from)
}

/** Quoted when it holds anything that could end the field or the line: log lines are fed by the network. */
function readableValue(value: unknown): string {
  if (typeof value === 'number') return String(value)
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? 'undefined')
  return /^[\x21\x23-\x3c\x3e-\x7e]+$/.test(text) ? text : escapeControls(JSON.stringify(text))
}
