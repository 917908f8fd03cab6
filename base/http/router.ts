import { SAFE_HEADERS, type Problem } from './problem.js'
import type { Route } from './route.js'

export interface Match {
  readonly route: Route
  readonly params: Readonly<Record<string, string>>
}

/** There is no such route. */
interface Unrouted {
  /** 404 or 405. */
  readonly problem: Problem
  /** Whether something open is at that path, by another method. */
  readonly open: boolean
}

/** From method and request target to a route. */
export type Router = (method: string, url: string) => Match | Unrouted

export interface RouterOptions {
  /** OPTIONS is answered for every path with the methods it takes. */
  readonly answersOptions?: true
  /** The answer to a path that is not there names those that are. */
  readonly namesRoutes?: true
}

interface Pattern {
  readonly segments: readonly string[]
  readonly allow: string
  readonly open: boolean
  readonly byMethod: ReadonlyMap<string, Route>
}

export function makeRouter(routes: readonly Route[], options: RouterOptions = {}): Router {
  const paths = [...new Set(routes.map(({ path }) => path))]
  const patterns = paths.map((path) => patternOf(path, routes, options))
  return (method, url) => {
    const path = url.split('?', 1)[0] ?? ''
    const segments = path.split('/')
    for (const { segments: wanted, byMethod, allow, open } of patterns) {
      const params = matchSegments(wanted, segments)
      if (params === undefined) continue
      const route = byMethod.get(method === 'HEAD' ? 'GET' : method)
      if (route !== undefined && !(method === 'HEAD' && route.endless === true)) return { route, params }
      const detail = `${path} does not take ${method}, only ${allow}`
      return { problem: { status: 405, detail, headers: { Allow: allow } }, open }
    }
    const more = options.namesRoutes === undefined ? {} : { more: { routes: paths } }
    return { problem: { status: 404, detail: `there is nothing at ${path}`, ...more }, open: false }
  }
}

function patternOf(path: string, routes: readonly Route[], { answersOptions }: RouterOptions): Pattern {
  const here = routes.filter((route) => route.path === path)
  const methods = here.map(({ method }) => method)
  const readable = here.some(({ method, endless }) => method === 'GET' && endless !== true)
  const extra = [...(readable ? ['HEAD'] : []), ...(answersOptions === undefined ? [] : ['OPTIONS'])]
  const allow = [...methods, ...extra].join(', ')
  const told = answersOptions === undefined ? [] : [optionsRoute(path, allow)]
  return {
    segments: path.split('/'),
    allow,
    open: here.some(({ access }) => access === 'open'),
    byMethod: new Map([...here, ...told].map((route) => [route.method, route])),
  }
}

function optionsRoute(path: string, allow: string): Route {
  return {
    method: 'OPTIONS',
    path,
    access: 'open',
    summary: 'What the path takes',
    answers: { 204: { description: 'Allow says it' } },
    handle: async ({ response }) => {
      response.writeHead(204, { ...SAFE_HEADERS, Allow: allow }).end()
    },
  }
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
