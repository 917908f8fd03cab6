import { MAX_VALUE_LENGTH } from './limits.js'
import { refuse } from './problem.js'

/** One parameter of a route's query: checked, and described, by the same words. */
export type QueryParameter = { readonly description: string; readonly required?: true } & (
  | { readonly kind: 'text'; readonly filled?: true; readonly maxLength?: number }
  /** May be there several times. */
  | { readonly kind: 'texts' }
  | { readonly kind: 'flag' }
  | { readonly kind: 'choice'; readonly choices: readonly [string, ...string[]] }
  | { readonly kind: 'whole'; readonly min: number; readonly max: number }
)

/** A query that holds what its route takes, and nothing else. */
export interface Query {
  text(name: string): string | undefined
  texts(name: string): readonly string[]
  /** False where it is not there. */
  flag(name: string): boolean
  whole(name: string): number | undefined
}

/**
 * @param url as it stands in the request line.
 * @throws RefusedRequestError naming the first parameter that is unknown, missing, there twice or not as described.
 */
export function readQuery(url: string, known: Readonly<Record<string, QueryParameter>>): Query {
  const start = url.indexOf('?')
  const values = new URLSearchParams(start < 0 ? '' : url.slice(start + 1))
  for (const [name, value] of values) {
    const parameter = Object.hasOwn(known, name) ? known[name] : undefined
    if (parameter === undefined) {
      const names = Object.keys(known).join(', ') || 'nothing'
      return refuse(400, `the query parameter ${JSON.stringify(name)} is not known here; it takes ${names}`)
    }
    if (parameter.kind !== 'texts' && values.getAll(name).length > 1)
      refuse(400, `the query parameter "${name}" is there twice`)
    const complaint = complain(value, parameter)
    if (complaint !== undefined) refuse(400, `the query parameter "${name}" ${complaint}`)
  }
  for (const [name, { required }] of Object.entries(known)) {
    if (required === true && !values.has(name)) refuse(400, `the query parameter "${name}" is missing`)
  }
  const text = (name: string): string | undefined => values.get(name) ?? undefined
  const whole = (name: string): number | undefined => {
    const value = text(name)
    return value === undefined ? undefined : Number(value)
  }
  return {
    text,
    texts: (name) => values.getAll(name),
    flag: (name) => TRUE.includes(text(name) ?? ''),
    whole,
  }
}

const TRUE = ['true', '1']
const FALSE = ['false', '0']

function complain(value: string, parameter: QueryParameter): string | undefined {
  switch (parameter.kind) {
    case 'text':
    case 'texts': {
      const { filled = false, maxLength = MAX_VALUE_LENGTH } = parameter.kind === 'text' ? parameter : {}
      if (value.includes('\0')) return 'holds a NUL'
      if (filled && value === '') return 'must not be empty'
      return value.length > maxLength ? `is longer than ${maxLength} characters` : undefined
    }
    case 'flag':
      return TRUE.includes(value) || FALSE.includes(value) ? undefined : 'is neither true nor false'
    case 'choice':
      return parameter.choices.includes(value) ? undefined : `is not one of ${parameter.choices.join(', ')}`
    case 'whole': {
      const { min, max } = parameter
      const fits = /^\d{1,15}$/.test(value) && Number(value) >= min && Number(value) <= max
      return fits ? undefined : `is not a whole number from ${min} to ${max}`
    }
  }
}
