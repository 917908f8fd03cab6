/** What a client says beside the bytes that it types. */
type ControlMessage =
  | { readonly kind: 'input'; readonly text: string }
  | { readonly kind: 'resize'; readonly cols: number; readonly rows: number }

/** Columns and rows; programs keep a screen of them in memory. */
export const MAX_SIZE = 1000

/** Undefined where it is none. */
export function parseControl(text: string): ControlMessage | undefined {
  const message = objectOf(parse(text))
  const [key, ...more] = Object.keys(message)
  if (more.length > 0) return undefined
  if (key === 'input')
    return typeof message[key] === 'string' ? { kind: 'input', text: message[key] } : undefined
  if (key !== 'resize') return undefined
  const { cols, rows, ...rest } = objectOf(message[key])
  if (!isSize(cols) || !isSize(rows) || Object.keys(rest).length > 0) return undefined
  return { kind: 'resize', cols, rows }
}

function isSize(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) >= 1 && Number(value) <= MAX_SIZE
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {}
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
