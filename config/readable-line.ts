const PADDED_LEVEL: Readonly<Record<string, string>> = {
  debug: 'DEBUG',
  info: 'INFO ',
  warn: 'WARN ',
  error: 'ERROR',
}

/** What {@link readableLine} puts in front: the moment and the level. */
export const READABLE_PREFIX = /^\d{4}-\d\d-\d\dT[\d:.]+Z (DEBUG|INFO|WARN|ERROR) +/

/** `2026-11-21T02:41:03.123Z INFO  request    method=GET host=example.com`, of a line as pino writes it. */
export function readableLine(json: string): string {
  const { level, time, msg, ...fields } = JSON.parse(json) as Record<string, unknown>
  const stamp = new Date(Number(time)).toISOString()
  const name = PADDED_LEVEL[String(level)] ?? String(level).toUpperCase()
  return `${[stamp, name, escapeControls(String(msg)).padEnd(10), readableFields(fields)].join(' ').trimEnd()}\n`
}

/** `method=GET host=example.com`; empty when there are none. */
export function readableFields(fields: object): string {
  return Object.entries(fields)
    .map(([key, value]) => `${key}=${readableValue(value)}`)
    .join(' ')
}

/** A service's line becomes a message; it may hold what would move a terminal's cursor. */
export function escapeControls(text: string): string {
  return text.replace(/[\x00-\x08\x0a-\x1f\x7f-\x9f]/g, (char) => {
    const escaped = JSON.stringify(char).slice(1, -1)
    // JSON leaves DEL and the C1 set as they are, of which 0x9b begins a command as ESC [ does (ECMA-48, 5.3).
    return escaped === char ? `\\u00${char.charCodeAt(0).toString(16)}` : escaped
  })
}

/** Quoted when it holds anything that could end the field or the line: log lines are fed by the network. */
function readableValue(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? 'undefined')
  return /^[\x21\x23-\x3c\x3e-\x7e]+$/.test(text) ? text : escapeControls(JSON.stringify(text))
}
