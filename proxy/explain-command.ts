import { METHODS } from 'node:http'
import { parseArgs } from 'node:util'
import { DiscobotError } from '../config/errors.js'
import { loadConfigFile, loadDefaultConfig } from '../config/load.js'
import { systemResolve } from './dial.js'
import { explain, type DecidedBy, type Explanation } from './explain.js'
import { absoluteTarget, type RequestTarget } from './request-target.js'
import { TargetError } from './target.js'

export const EXPLAIN_USAGE = `Usage: discobot-proxy explain METHOD URL [--config FILE] [--json]

Says what the proxy would do with a request, and which line of the configuration makes it do so. Nothing but
the name's address is asked for. Header values are not shown.

  -c, --config FILE   YAML configuration (also: -config FILE); without it, the built-in defaults
      --json          for machines

Exit code: 0 allowed, 3 blocked, 2 wrong usage, 1 it cannot be told.
`

/** The command line asks for nothing that can be explained. */
export class ExplainUsageError extends DiscobotError {
  override readonly code = 'EXPLAIN_USAGE'
}

const EXIT_CODES: Readonly<Record<Explanation['decision'], number>> = { allow: 0, block: 3, unresolved: 1 }

/**
 * `explain METHOD URL`, with what it prints and its exit code.
 *
 * @param args after the word `explain`
 * @throws ExplainUsageError, ConfigError, or Node's own error for an unknown option.
 */
export async function explainCommand(
  args: readonly string[],
  dataDir: string | undefined,
): Promise<{ readonly output: string; readonly exitCode: number }> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      config: { type: 'string', short: 'c' },
      json: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
  })
  if (values.help === true) return { output: EXPLAIN_USAGE, exitCode: 0 }
  const [method, url, ...more] = positionals
  if (method === undefined || url === undefined || more.length > 0) {
    throw new ExplainUsageError('cannot explain that: write a method and a URL')
  }
  const to = targetOf(url)
  const where = dataDir === undefined ? {} : { dataDir }
  const merged =
    values.config === undefined ? loadDefaultConfig(where) : await loadConfigFile(values.config, where)
  const explanation = await explain(knownMethod(method), to, merged, systemResolve)
  const output = values.json === true ? `${JSON.stringify(explanation, null, 2)}\n` : describe(explanation)
  return { output, exitCode: EXIT_CODES[explanation.decision] }
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

/** For people: a line for each question they would ask. */
function describe(explanation: Explanation): string {
  const { method, url, decision, reason, by, mode, would_block: wouldBlock } = explanation
  const verdict = { allow: 'allowed', block: 'blocked', unresolved: 'depends on its address' }[decision]
  return lines([
    ['', `${method} ${url}`],
    ['decision', reason === undefined ? verdict : `${verdict}: ${reason}`],
    ['by', place(by)],
    ['mode', mode === 'observe' ? 'observe: lists and rules only record' : undefined],
    ['would block', wouldBlock && `${wouldBlock.reason}, by ${place(wouldBlock)}`],
    ...(decision === 'block' ? [] : followUp(explanation)),
  ])
}

/** What becomes of a request that is let through. */
function followUp(explanation: Explanation): readonly Line[] {
  const { connection, way, addresses, resolve_error: resolveError, headers, cache } = explanation
  const injected = [
    ...(headers?.set ?? []).map((name): Line => ['sets', `${name}: (redacted)`]),
    ...(headers?.append ?? []).map((name): Line => ['appends to', `${name}: (redacted)`]),
    ...(headers?.conditions ?? []).map((name): Line => ['only if', `${name}: (redacted) is sent`]),
  ]
  return [
    ['TLS', TLS_WORDS[connection]],
    ['goes by', way === 'direct' ? undefined : way],
    ...(addresses ?? []).map(({ address, dial, reason, by }): Line => [
      dial ? 'dials' : 'not dialled',
      reason === undefined || by === undefined ? address : `${address}: ${reason}, by ${place(by)}`,
    ]),
    ['dials', resolveError],
    ['headers', headers === undefined ? 'none added' : place(headers)],
    ['withheld', headers?.withheld],
    ...injected,
    [
      'cache',
      cache.cached
        ? `kept if upstream allows it, by ${place(cache.by)} ${cache.pattern}`
        : `no: ${cache.why}`,
    ],
    ['cache key', cache.cached ? cache.key : undefined],
  ]
}

const TLS_WORDS: Readonly<Record<Explanation['connection'], string>> = {
  intercept: 'opened here, and made anew to upstream',
  passthrough: 'passed through unopened (tls.passthrough)',
  plain: 'none: plain HTTP',
}

type Line = readonly [label: string, text: string | undefined]

function lines(all: readonly Line[]): string {
  return all
    .filter(([, text]) => text !== undefined)
    .map(([label, text]) => (label === '' ? `${text}\n` : `  ${label.padEnd(12)}${text}\n`))
    .join('')
}

function place({ option, name, at }: DecidedBy): string {
  const named = name === undefined ? option : `${option} (${name})`
  return at === undefined ? named : `${named} at ${at}`
}
