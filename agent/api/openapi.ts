import type { JsonSchema } from './json-schema.js'
import { querySchema } from './query.js'
import type { AnswerSpec, Described, Route } from './route.js'

/** A page of RFC 9457, without a `type`. */
const PROBLEM: JsonSchema = {
  type: 'object',
  required: ['title', 'status', 'detail'],
  properties: { title: { type: 'string' }, status: { type: 'integer' }, detail: { type: 'string' } },
}

/** What any route may answer, whatever it does. */
const COMMON_PROBLEMS: Readonly<Record<number, string>> = {
  400: 'the request is malformed, or carries what the route does not take',
  401: 'a token is set, and missing or wrong',
  403: 'the request comes from a page of another origin',
  421: 'the Host header names another machine',
  500: 'the API failed; its log says why',
}

/** The OpenAPI 3.1 document of the routes: read from what serves them, so that it cannot say anything else. */
export function describeRoutes(routes: readonly Route[], version: string, authorized: boolean): JsonSchema {
  const paths: Record<string, Record<string, JsonSchema>> = {}
  for (const route of routes) {
    paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: operation(route, authorized) }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Discobot agent API',
      version,
      description: 'What the container does, and what its workspace holds.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: '/' }],
    paths,
    components: {
      schemas: { Problem: PROBLEM },
      securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
    },
  }
}

function operation(route: Route, authorized: boolean): JsonSchema {
  const { summary, description, body } = route
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
    responses: responses(route, authorized),
    security: authorized && route.open !== true ? [{ token: [] }] : [],
  }
}

function named(
  specs: Readonly<Record<string, Described>> = {},
  more: (spec: Described) => JsonSchema,
): JsonSchema[] {
  return Object.entries(specs).map(([name, spec]) => ({ name, ...more(spec) }))
}

function responses(route: Route, authorized: boolean): Record<string, JsonSchema> {
  const answered: Record<string, JsonSchema> = {}
  for (const [status, spec] of Object.entries(route.answers)) answered[status] = response(spec)
  const problems = { ...COMMON_PROBLEMS, ...route.problems }
  for (const [status, description] of Object.entries(problems)) {
    if (status === '401' && (!authorized || route.open === true)) continue
    answered[status] = {
      description,
      content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
    }
  }
  return answered
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
