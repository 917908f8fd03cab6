import { refuse } from './problem.js'
import type { Route } from './route.js'

export interface Match {
  readonly route: Route
  readonly params: Readonly<Record<string, string>>
}

/** From method and request target to a route. */
export type Router = (method: string, url: string) => Match

interface Pattern {
  readonly segments: readonly string[]
  readonly byMethod: ReadonlyMap<string, Route>
}

/** @returns a router that throws RefusedRequestError with 404 or 405. */
export function makeRouter(routes: readonly Route[]): Router {
  const patterns = [...new Set(routes.map(({ path }) => path))].map((path): Pattern => {
    const here = routes.filter((route) => route.path === path)
    return { segments: path.split('/'), byMethod: new Map(here.map((route) => [route.method, route])) }
  })
  return (method, url) => {
    const path = url.split('?', 1)[0] ?? ''
    const segments = path.split('/')
    for (const pattern of patterns) {
      const params = matchSegments(pattern.segments, segments)
      if (params === undefined) continue
      const route = pattern.byMethod.get(method === 'HEAD' ? 'GET' : method)
      if (route !== undefined && !(method === 'HEAD' && route.endless === true)) return { route, params }
      const allow = allowed(pattern.byMethod.values())
      return refuse(405, `${path} does not take ${method}, only ${allow}`, { allow })
    }
    return refuse(404, `there is nothing at ${path}`)
  }
}

function allowed(routes: Iterable<Route>): string {
  return [...routes]
    .flatMap(({ method, endless }) => (method === 'GET' && endless !== true ? ['GET', 'HEAD'] : [method]))
    .join(', ')
}

function matchSegments(
  pattern: readonly string[],
  segments: readonly string[],
): Record<string, string> | undefined {
  if (pattern.length !== segments.length) return undefined
  const params: Record<string, string> = {}
  for (const [index, wanted] of pattern.entries()) {
    const found = segments[index] ?? ''
    const name = /^\{(\w+)\}$/.exec(wanted)?.[1]
    if (name === undefined) {
      if (found !== wanted) return undefined
      continue
    }
    const value = decode(found)
    if (value === undefined || value === '') return undefined
    params[name] = value
  }
  return params
}

function decode(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment)
  } catch {
    return undefined
  }
}
