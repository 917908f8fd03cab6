import type { AccessTable } from '../../base/http/access.js'
import { sendJson } from '../../base/http/problem.js'
import type { Route } from '../../base/http/route.js'
import { ERROR_OBJECT } from './error-object.js'

/** What any route may answer, whatever it does. */
const COMMON_PROBLEMS: Readonly<Record<number, string>> = {
  400: 'the request is malformed, or a query parameter is not known',
  401: 'what the route asks for is missing or wrong',
  403: "Host is not this machine's, or the request comes from another origin's page",
  500: 'the proxy failed; its log says why',
}

/** @param all the routes, this one included, once they are known. */
export function openapiRoute(all: () => readonly Route[], version: string, access: AccessTable): Route {
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
      const [{ describeRoutes }, { SHAPES }] = await Promise.all([
        import('../../base/http/openapi.js'),
        import('./shapes.js'),
      ])
      const described = describeRoutes(all(), {
        title: 'Discobot proxy API',
        description: 'Health, figures and control of the proxy, for those on this machine.',
        version,
        access,
        problems: ERROR_OBJECT,
        shapes: SHAPES,
        commonProblems: COMMON_PROBLEMS,
      })
      sendJson(response, described)
    },
  }
}
