import type { AccessRule } from '../../base/http/access.js'
import { PROBLEM_DETAILS, type Problem, type ProblemFormat } from '../../base/http/problem.js'
import { codeOf, DiscobotError } from '../../base/errors.js'
import { ControlRefusedError, ControlRequestError } from './errors.js'

/** RFC 9457, with our stable `code` beside its members. What the kit refuses is a request we cannot make sense of. */
export const CONTROL_PROBLEMS: ProblemFormat = {
  ...PROBLEM_DETAILS,
  page: (problem) => {
    const isOfTheKit = problem.code === undefined && problem.status < 500
    const told = isOfTheKit ? problemOf(new ControlRequestError(problem.status, problem.detail)) : problem
    return { type: 'about:blank', ...PROBLEM_DETAILS.page(told) }
  },
}

/** What goes wrong in a route, as it is answered. */
export function problemOf(error: unknown): Problem {
  if (!(error instanceof DiscobotError))
    return { status: 500, detail: 'the agent failed to answer; its log says why' }
  return { status: statusOf(error), detail: error.message, code: error.code }
}

function statusOf(error: DiscobotError): number {
  if (error instanceof ControlRequestError) return error.status
  if (error instanceof ControlRefusedError) return 403
  // What any other of our errors says is about the state of things, not about the request.
  return codeOf(error) === 'SERVICE_UNKNOWN' ? 404 : 409
}

/** A level that `ask` lets into; it rejects with ControlRefusedError. */
export function accessBy(ask: (...given: Parameters<AccessRule['check']>) => Promise<void>): AccessRule {
  return {
    check: (request, params) =>
      ask(request, params).then(
        () => undefined,
        (error: unknown) => {
          if (error instanceof ControlRefusedError) return problemOf(error)
          throw error
        },
      ),
    schemes: {},
  }
}
