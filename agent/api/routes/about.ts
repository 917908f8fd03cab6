import { describeRoutes } from '../openapi.js'
import { sendJson } from '../problem.js'
import type { Route } from '../route.js'
import { gatherStatus, type StatusSources } from '../status.js'

/** `/health` tells nothing but that we answer, so it takes no token: whoever watches us need not have it. */
export function healthRoute(): Route {
  return {
    method: 'GET',
    path: '/health',
    summary: 'Whether the agent API answers',
    open: true,
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

/** @param all the routes, this one included, once they are known. */
export function openapiRoute(all: () => readonly Route[], version: string, authorized: boolean): Route {
  return {
    method: 'GET',
    path: '/openapi.json',
    summary: 'This API, described',
    answers: {
      200: { description: 'an OpenAPI 3.1 document', content: { 'application/json': { type: 'object' } } },
    },
    handle: async ({ response }) => sendJson(response, describeRoutes(all(), version, authorized)),
  }
}
