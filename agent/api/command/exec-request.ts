import * as v from 'valibot'
import { refuse } from '../../../base/http/problem.js'
import type { JsonSchema } from '../../../base/http/json-schema.js'

/** What `POST /api/exec` is asked to run. */
export interface ExecRequest {
  readonly argv: readonly [string, ...string[]]
  /** Relative to the workspace. */
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
  readonly stdin?: Buffer
  readonly timeoutMs: number
}

const DEFAULT_TIMEOUT_MS = 10 * 60_000
const MAX_TIMEOUT_MS = 24 * 3_600_000
const SHELL = '/bin/sh'
const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/

/** A string that execve(2) can take. */
const word = v.pipe(
  v.string('is not text'),
  v.check((text) => !text.includes('\0'), 'holds a NUL'),
)
const nonEmpty = v.pipe(word, v.minLength(1, 'is empty'))

export const EXEC_BODY = v.strictObject({
  argv: v.optional(v.pipe(v.array(word, 'is no list of words'), v.minLength(1, 'is empty'))),
  shell: v.optional(nonEmpty),
  cwd: v.optional(v.string('is not text'), ''),
  env: v.optional(
    v.record(v.pipe(v.string(), v.regex(VARIABLE, 'is no name of a variable')), word, 'is no object'),
    {},
  ),
  stdin: v.optional(v.string('is not text')),
  stdinBase64: v.optional(v.pipe(v.string('is not text'), v.regex(BASE64, 'is not base64'))),
  timeoutMs: v.optional(
    v.pipe(
      v.number('is not a number'),
      v.integer('is not a whole number'),
      v.minValue(1, 'is less than 1'),
      v.maxValue(MAX_TIMEOUT_MS, `is more than ${MAX_TIMEOUT_MS}`),
    ),
    DEFAULT_TIMEOUT_MS,
  ),
})

/** The same as `EXEC_BODY`, for people and generators of clients; a test holds the two together. */
export const EXEC_SCHEMA: JsonSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    argv: {
      type: 'array',
      minItems: 1,
      items: { type: 'string', pattern: '^[^\\u0000]*$' },
      prefixItems: [{ type: 'string', minLength: 1, pattern: '^[^\\u0000]*$' }],
      description: 'program and arguments; no shell runs',
    },
    shell: {
      type: 'string',
      minLength: 1,
      pattern: '^[^\\u0000]*$',
      description: `a line for ${SHELL} -c, instead of argv`,
    },
    cwd: { type: 'string', default: '', description: 'a folder, relative to the workspace' },
    env: {
      type: 'object',
      propertyNames: { pattern: VARIABLE.source },
      additionalProperties: { type: 'string', pattern: '^[^\\u0000]*$' },
      description: 'added to the environment',
    },
    stdin: { type: 'string', description: 'what the command reads; without it /dev/null' },
    stdinBase64: { type: 'string', pattern: BASE64.source, description: 'bytes, instead of stdin' },
    timeoutMs: { type: 'integer', minimum: 1, maximum: MAX_TIMEOUT_MS, default: DEFAULT_TIMEOUT_MS },
  },
  oneOf: [{ required: ['argv'] }, { required: ['shell'] }],
  not: { required: ['stdin', 'stdinBase64'] },
}

/** @throws RefusedRequestError with 422, naming what is wrong. */
export function parseExecRequest(body: unknown): ExecRequest {
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    refuse(422, 'the body is no JSON object')
  const result = v.safeParse(EXEC_BODY, body)
  if (!result.success) {
    const [issue] = result.issues
    const at = issue.path?.map(({ key }) => String(key)).join('.') ?? 'it'
    return refuse(422, `${at} ${issue.type === 'strict_object' ? 'is not known' : issue.message}`)
  }
  const { argv, shell, cwd, env, stdin, stdinBase64, timeoutMs } = result.output
  if ((argv === undefined) === (shell === undefined)) refuse(422, 'the body must have either argv or shell')
  if (stdin !== undefined && stdinBase64 !== undefined)
    refuse(422, 'the body must not have both stdin and stdinBase64')
  const [program, ...args] = argv ?? [SHELL, '-c', shell ?? '']
  if (program === undefined || program === '') return refuse(422, 'argv.0 is empty')
  const input = stdin === undefined ? stdinBase64 : stdin
  const encoding = stdin === undefined ? 'base64' : 'utf8'
  return {
    argv: [program, ...args],
    cwd,
    env,
    timeoutMs,
    ...(input === undefined ? {} : { stdin: Buffer.from(input, encoding) }),
  }
}
