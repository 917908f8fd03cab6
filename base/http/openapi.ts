import { shape, type JsonSchema } from './json-schema.js'
import type { AccessTable } from './access.js'
import type { ProblemFormat } from './problem.js'
import { MAX_VALUE_LENGTH } from './limits.js'
import type { QueryParameter } from './query.js'
import { isAnyBytes, type AnswerSpec, type BodySpec, type Described, type Route } from './route.js'

/** A server, as its document presents it. */
interface DescribedServer {
  readonly title: string
  readonly description: string
  readonly version: string
  readonly access: AccessTable
  readonly problems: ProblemFormat
  /** Schemas that rows name. */
  readonly shapes?: Readonly<Record<string, JsonSchema>>
  /** Status → when any of the routes answers so. 401 holds where something has to be shown. */
  readonly commonProblems: Readonly<Record<number, string>>
}

/** The OpenAPI 3.1 document of the routes: read from what serves them, so that it cannot say anything else. */
export function describeRoutes(routes: readonly Route[], server: DescribedServer): JsonSchema {
  const { title, description, version, access, problems, shapes = {} } = server
  const paths: Record<string, Record<string, JsonSchema>> = {}
  for (const route of routes) {
    paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: operation(route, server) }
  }
  return {
    openapi: '3.1.0',
    info: {
      title,
      version,
      description,
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: '/' }],
    paths,
    components: {
      schemas: { Problem: problems.schema, ...shapes },
      securitySchemes: Object.assign(
        {},
        ...Object.values(access).map(({ schemes }) => schemes),
      ) as JsonSchema,
    },
  }
}

function operation(route: Route, server: DescribedServer): JsonSchema {
  const { summary, description, body } = route
  const shown = schemesOf(route, server)
  return {
    operationId: operationId(route),
    summary,
    ...(description === undefined ? {} : { description }),
    parameters: [
      ...named(route.params, (spec) => ({ in: 'path', required: true, schema: { type: 'string' }, ...spec })),
      ...Object.entries(route.query ?? {}).map(([name, parameter]) => ({
        name,
        in: 'query',
        required: parameter.required === true,
        description: parameter.description,
        schema: querySchema(parameter),
      })),
      ...named(route.headers, (spec) => ({
        in: 'header',
        required: false,
        schema: { type: 'string' },
        ...spec,
      })),
    ],
    ...(body === undefined
      ? {}
      : { requestBody: { required: true, description: body.description, content: content(body.content) } }),
    responses: responses(route, server),
    security: [
      // OpenAPI's word for "or nothing".
      ...(server.access[route.access]?.optional === true ? [{}] : []),
      ...shown.map((name) => ({ [name]: [] })),
    ],
  }
}

/** Names of what a client shows, any of which will do. */
function schemesOf({ access: level }: Route, { access }: DescribedServer): readonly string[] {
  return Object.keys(access[level]?.schemes ?? {})
}

function named(
  specs: Readonly<Record<string, Described>> = {},
  more: (spec: Described) => JsonSchema,
): JsonSchema[] {
  return Object.entries(specs).map(([name, spec]) => ({ name, ...more(spec) }))
}

function responses(route: Route, server: DescribedServer): Record<string, JsonSchema> {
  const answered: Record<string, JsonSchema> = {}
  for (const [status, spec] of Object.entries(route.answers)) answered[status] = response(spec)
  const problems = { ...server.commonProblems, ...bodyProblems(route.body), ...route.problems }
  for (const [status, description] of Object.entries(problems)) {
    if (status === '401' && schemesOf(route, server).length === 0) continue
    answered[status] = {
      description,
      content: { [server.problems.mediaType]: { schema: shape('Problem') } },
    }
  }
  return answered
}

/** What the kit itself says of a body; of one that is just bytes the route says it. */
function bodyProblems(body: BodySpec | undefined): Readonly<Record<number, string>> {
  if (body === undefined || isAnyBytes(body)) return {}
  const type = { 415: `the body is not ${Object.keys(body.content).join(' or ')}` }
  if (body.maxBytes === Infinity) return type
  return { ...type, 408: 'the body was too slow', 413: `the body is longer than ${body.maxBytes} bytes` }
}

function response({ description, content: bodies, headers }: AnswerSpec): JsonSchema {
  return {
    description,
    ...(bodies === undefined ? {} : { content: content(bodies) }),
    ...(headers === undefined
      ? {}
      : {
          headers: Object.fromEntries(
            Object.entries(headers).map(([name, spec]) => [name, { schema: { type: 'string' }, ...spec }]),
          ),
        }),
  }
}

function content(bodies: Readonly<Record<string, JsonSchema>>): JsonSchema {
  return Object.fromEntries(Object.entries(bodies).map(([type, schema]) => [type, { schema }]))
}

/** `getApiServicesNameLogs`: what generators of clients call their functions. */
function operationId({ method, path }: Route): string {
  const words = path.split(/[^A-Za-z0-9]+/).filter((word) => word !== '')
  return method.toLowerCase() + words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('')
}

function querySchema(parameter: QueryParameter): JsonSchema {
  switch (parameter.kind) {
    case 'text': {
      const { filled, maxLength = MAX_VALUE_LENGTH } = parameter
      return { type: 'string', maxLength, ...(filled === undefined ? {} : { minLength: 1 }) }
    }
    case 'texts':
      return { type: 'array', items: { type: 'string', maxLength: MAX_VALUE_LENGTH } }
    case 'flag':
      return { type: 'boolean', default: false }
    case 'choice':
      return { type: 'string', enum: parameter.choices }
    case 'whole':
      return { type: 'integer', minimum: parameter.min, maximum: parameter.max }
  }
}
