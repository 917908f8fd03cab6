import { PROBLEM_DETAILS, sendJson } from '../../../base/http/problem.js'
import type { Route } from '../../../base/http/route.js'
import { agentAccess, type TokenCheck } from '../settings/access.js'
import { gatherStatus, type StatusSources } from '../status/status.js'

/** `/health` tells nothing but that we answer, so it takes no token: whoever watches us need not have it. */
export function healthRoute(): Route {
  return {
    method: 'GET',
    path: '/health',
    summary: 'Whether the agent API answers',
    access: 'open',
    answers: {
      200: {
        description: 'it does',
        content: {
          'application/json': {
            type: 'object',
            required: ['status'],
            properties: { status: { const: 'ok' } },
          },
        },
      },
    },
    handle: async ({ response }) => sendJson(response, { status: 'ok' }),
  }
}

const LIST_OF_OBJECTS = { type: 'array', items: { type: 'object' } }

export function statusRoute(sources: StatusSources): Route {
  return {
    method: 'GET',
    path: '/api/status',
    access: 'read',
    summary: 'Boot, services, proxy and workspace',
    description: 'Always answers: what cannot be asked is a line in `degraded`.',
    answers: {
      200: {
        description: 'the state of everything',
        content: {
          'application/json': {
            type: 'object',
            required: ['status', 'phase', 'boot', 'services', 'proxy', 'workspace', 'degraded'],
            properties: {
              status: { enum: ['ok', 'degraded'] },
              phase: { type: 'string', description: 'booting, running, stopping, or unknown' },
              boot: LIST_OF_OBJECTS,
              services: LIST_OF_OBJECTS,
              proxy: {
                type: 'object',
                required: ['state'],
                properties: { state: { enum: ['ok', 'degraded', 'off'] } },
              },
              workspace: {
                type: 'object',
                required: ['path', 'state'],
                properties: { path: { type: 'string' }, state: { enum: ['git', 'plain', 'unknown'] } },
              },
              degraded: { type: 'array', items: { type: 'string' } },
            },
          },
        },
      },
    },
    handle: async ({ response }) => sendJson(response, await gatherStatus(sources)),
  }
}

/** What any route may answer, whatever it does. */
const COMMON_PROBLEMS: Readonly<Record<number, string>> = {
  400: 'the request is malformed, or carries what the route does not take',
  401: 'a token is set, and missing or wrong',
  403: 'the request comes from a page of another origin',
  421: 'the Host header names another machine',
  500: 'the API failed; its log says why',
}

/** @param all the routes, this one included, once they are known. */
export function openapiRoute(
  all: () => readonly Route[],
  version: string,
  token: TokenCheck | undefined,
): Route {
  const server = {
    title: 'Discobot agent API',
    description: 'What the container does, and what its workspace holds.',
    version,
    access: agentAccess(token),
    problems: PROBLEM_DETAILS,
    commonProblems: COMMON_PROBLEMS,
  }
  return {
    method: 'GET',
    path: '/openapi.json',
    access: 'read',
    summary: 'This API, described',
    answers: {
      200: { description: 'an OpenAPI 3.1 document', content: { 'application/json': { type: 'object' } } },
    },
    handle: async ({ response }) => {
      // Nothing of it is needed to serve.
      const { describeRoutes } = await import('../../../base/http/openapi.js')
      sendJson(response, describeRoutes(all(), server))
    },
  }
}
