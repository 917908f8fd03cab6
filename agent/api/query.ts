import type { JsonSchema } from './json-schema.js'
import { refuse } from './problem.js'

/** One parameter of a route's query: checked, and described, by the same words. */
export type QueryParameter = { readonly description: string; readonly required?: true } & (
  | { readonly kind: 'text' }
  | { readonly kind: 'flag' }
  | { readonly kind: 'choice'; readonly choices: readonly [string, ...string[]] }
  | { readonly kind: 'whole'; readonly min: number; readonly max: number }
)

/** A query that holds what its route takes, and nothing else. */
export interface Query {
  text(name: string): string | undefined
  /** False where it is not there. */
  flag(name: string): boolean
  whole(name: string): number | undefined
}

/** Linux has 4,096 bytes for a path. */
const MAX_VALUE_LENGTH = 4096

/**
 * @param url as it stands in the request line.
 * @throws RefusedRequestError naming the first parameter that is unknown, missing, there twice or not as described.
 */
export function readQuery(url: string, known: Readonly<Record<string, QueryParameter>>): Query {
  const values = new Map<string, string>()
  const start = url.indexOf('?')
  for (const [name, value] of new URLSearchParams(start < 0 ? '' : url.slice(start + 1))) {
    if (!Object.hasOwn(known, name)) {
      const names = Object.keys(known).join(', ') || 'nothing'
      refuse(400, `the query parameter ${JSON.stringify(name)} is not known here; it takes ${names}`)
    }
    if (values.has(name)) refuse(400, `the query parameter "${name}" is there twice`)
    values.set(name, value)
  }
  for (const [name, parameter] of Object.entries(known)) {
    const value = values.get(name)
    if (value === undefined && parameter.required === true)
      refuse(400, `the query parameter "${name}" is missing`)
    const complaint = value === undefined ? undefined : complain(value, parameter)
    if (complaint !== undefined) refuse(400, `the query parameter "${name}" ${complaint}`)
  }
  const whole = (name: string): number | undefined => {
    const value = values.get(name)
    return value === undefined ? undefined : Number(value)
  }
  return { text: (name) => values.get(name), flag: (name) => values.get(name) === 'true', whole }
}

function complain(value: string, parameter: QueryParameter): string | undefined {
  switch (parameter.kind) {
    case 'text':
      if (value.includes('\0')) return 'holds a NUL'
      return value.length > MAX_VALUE_LENGTH ? `is longer than ${MAX_VALUE_LENGTH} characters` : undefined
    case 'flag':
      return value === 'true' || value === 'false' ? undefined : 'is neither true nor false'
    case 'choice':
      return parameter.choices.includes(value) ? undefined : `is not one of ${parameter.choices.join(', ')}`
    case 'whole': {
      const { min, max } = parameter
      const fits = /^\d{1,15}$/.test(value) && Number(value) >= min && Number(value) <= max
      return fits ? undefined : `is not a whole number from ${min} to ${max}`
    }
  }
}

export function querySchema(parameter: QueryParameter): JsonSchema {
  switch (parameter.kind) {
    case 'text':
      return { type: 'string', maxLength: MAX_VALUE_LENGTH }
    case 'flag':
      return { type: 'boolean', default: false }
    case 'choice':
      return { type: 'string', enum: parameter.choices }
    case 'whole':
      return { type: 'integer', minimum: parameter.min, maximum: parameter.max }
  }
}
