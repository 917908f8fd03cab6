import { loadConfigFile } from '../../config/layers/load.js'
import { PROXY_API_PORT } from '../../config/model/paths.js'
import { systemResolve } from '../policy/route-guard.js'
import { explain, type DecidedBy, type Explanation } from '../explain/explain.js'
import { readQuestion } from '../explain/explain-question.js'
import { OwnAddresses } from '../policy/own-addresses.js'
import type { ApiAccess } from './api-access.js'
import { askApi, readJson } from './api-client.js'
import { WarmApiError } from './errors.js'

const EXIT_CODES: Readonly<Record<Explanation['decision'], number>> = { allow: 0, block: 3, unresolved: 1 }

export interface ExplainRequest {
  readonly method: string
  readonly url: string
  /** File to explain by, instead of asking the proxy that runs. */
  readonly config: string | undefined
  readonly apiPort: number | undefined
  readonly json: boolean
}

/**
 * `explain METHOD URL`: what it prints, and its exit code.
 *
 * @param access for a proxy that asks (`proxy.auth`).
 * @throws ExplainUsageError, ConfigError or WarmApiError.
 */
export async function explainRequest(
  { method, url, config, apiPort = PROXY_API_PORT, json }: ExplainRequest,
  dataDir: string | undefined,
  access: () => Promise<ApiAccess>,
): Promise<{ readonly output: string; readonly exitCode: number }> {
  // Before anybody is asked: what is wrong with the question is the same everywhere.
  const question = readQuestion(method, url)
  const explanation =
    config === undefined
      ? await askRunning(apiPort, { method, url }, await access())
      : await explainFile(config, dataDir, question)
  const output = json ? `${JSON.stringify(explanation, null, 2)}\n` : describe(explanation)
  return { output, exitCode: EXIT_CODES[explanation.decision] }
}

/** By the proxy that runs: it alone knows what is in force. @throws WarmApiError */
async function askRunning(port: number, body: object, access: ApiAccess): Promise<Explanation> {
  try {
    const answer = await askApi(port, { ...access, method: 'POST', path: '/api/explain', body })
    return (await readJson(answer)) as Explanation
  } catch (error) {
    if (!(error instanceof WarmApiError)) throw error
    throw new WarmApiError(`${error.message}; with --config FILE a file is explained without it`, {
      cause: error,
    })
  }
}

async function explainFile(
  file: string,
  dataDir: string | undefined,
  { method, to }: ReturnType<typeof readQuestion>,
): Promise<Explanation> {
  const merged = await loadConfigFile(file, dataDir === undefined ? {} : { dataDir })
  const { port, api_port: apiPort } = merged.config.proxy
  const own = new OwnAddresses()
  return explain(method, to, merged, {
    resolve: systemResolve,
    isOwnPort: (asked) => asked === port || asked === apiPort,
    isOwnAddress: (address) => own.has(address),
  })
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
    ...inForceLines(explanation),
    ...(decision === 'block' ? [] : followUp(explanation)),
  ])
}

/** Which text has decided, where a proxy was asked. */
function inForceLines({ in_force: inForce }: Explanation): readonly Line[] {
  if (inForce === undefined) return []
  const { from, file, revision, problems } = inForce
  const text = { file: file ?? '', api: 'a change over the API', default: 'the built-in defaults' }[from]
  return [
    ['in force', `${text}, revision ${revision} of the proxy that runs`],
    ...problems.map((problem): Line => ['but', `the file cannot be used as it is now: ${problem}`]),
  ]
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

function place({ option, name, at, written }: DecidedBy): string {
  const named = name === undefined ? option : `${option} (${name})`
  if (written !== undefined) return `${named} at ${written.join(' and ')}`
  return at === undefined ? named : `${named} at ${at}`
}
