import { METHODS } from 'node:http'
import { DiscobotError } from '../../base/errors.js'
import { absoluteTarget, type RequestTarget } from '../message/request-target.js'
import { TargetError } from '../../base/net/target.js'

/** Nothing that can be explained is asked for. */
export class ExplainUsageError extends DiscobotError {
  override readonly code = 'EXPLAIN_USAGE'
}

/** What a person asks about, as the proxy would be asked. @throws ExplainUsageError */
export function readQuestion(
  method: string,
  url: string,
): { readonly method: string; readonly to: RequestTarget } {
  return { to: targetOf(url), method: knownMethod(method) }
}

function knownMethod(text: string): string {
  const method = text.toUpperCase()
  if (method === 'CONNECT') {
    throw new ExplainUsageError(
      'cannot explain CONNECT: it only opens a tunnel; ask for a request inside, as in explain GET https://HOST/',
    )
  }
  if (!METHODS.includes(method))
    throw new ExplainUsageError(`cannot explain ${JSON.stringify(text)}: no such method`)
  return method
}

function targetOf(url: string): RequestTarget {
  try {
    // The bytes of a command line, shown as the bytes of a request line are.
    const to = absoluteTarget(Buffer.from(url.split('#', 1)[0] ?? '').toString('latin1'))
    if (to === undefined) {
      throw new ExplainUsageError(
        `cannot explain ${JSON.stringify(url)}: write http://HOST/PATH or https://HOST/PATH`,
      )
    }
    // As clients send what a request line cannot hold. Dots and escapes stay: they are for the policy to judge.
    const path = to.path.replace(
      /[^\x21-\x7e]/g,
      (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
    )
    return { ...to, path }
  } catch (error) {
    if (error instanceof TargetError) throw new ExplainUsageError(error.message, { cause: error })
    throw error
  }
}
