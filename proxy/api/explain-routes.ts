import { shape } from '../../base/http/json-schema.js'
import { refuse, sendJson } from '../../base/http/problem.js'
import type { Exchange, Route } from '../../base/http/route.js'
import { formatProblem } from '../../config/yaml/problem.js'
import { readPlacesLine } from '../../config/compose/render.js'
import type { DialGuardDeps } from '../policy/route-guard.js'
import type { Explanation, InForce } from '../explain/explain.js'
import type { LiveConfig } from '../live/live-config.js'
import type { WithheldSecrets } from '../credentials/secrets.js'

interface ExplainRoutesDeps {
  readonly live: LiveConfig
  /** Of this proxy: what it dials is judged with. */
  readonly guard: DialGuardDeps
  readonly withheld: () => WithheldSecrets | undefined
}

const MAX_QUESTION_BYTES = 1024 * 1024

/** What would become of a request, by what is in force. For who may use the proxy, since names are resolved for it. */
export function explainRoutes(deps: ExplainRoutesDeps): readonly Route[] {
  return [
    {
      method: 'POST',
      path: '/api/explain',
      access: 'write',
      summary: 'What would become of a request, by what is in force',
      body: {
        description: 'the request',
        content: { 'application/json': shape('Question') },
        maxBytes: MAX_QUESTION_BYTES,
      },
      answers: {
        200: {
          description: 'decision, reason and way',
          content: { 'application/json': shape('Explanation') },
        },
      },
      problems: {
        422: 'the body is not as described, or asks for no URL',
      },
      handle: (exchange) => answer(deps, exchange),
    },
  ]
}

async function answer({ live, guard, withheld }: ExplainRoutesDeps, exchange: Exchange): Promise<void> {
  const { method, url } = questionIn(await exchange.json())
  // Nothing of it is needed to serve.
  const [{ explain }, { ExplainUsageError, readQuestion }] = await Promise.all([
    import('../explain/explain.js'),
    import('../explain/explain-question.js'),
  ])
  const { state, file } = live
  let question: ReturnType<typeof readQuestion>
  try {
    question = readQuestion(method, url)
  } catch (error) {
    if (error instanceof ExplainUsageError) refuse(422, error.message)
    throw error
  }
  // In the keys that wait for a restart it is not what was asked for.
  const merged = { ...state.desired, config: state.config }
  const explanation: Explanation = {
    ...(await explain(question.method, question.to, merged, {
      ...guard,
      withheld: withheld(),
      places: readPlacesLine(state.text),
    })),
    in_force: inForce(live, file),
  }
  sendJson(exchange.response, explanation)
}

function inForce({ state }: LiveConfig, file: string | undefined): InForce {
  return {
    from: state.from,
    ...(file === undefined ? {} : { file }),
    revision: state.revision,
    problems: (state.rejected?.problems ?? []).map(formatProblem),
  }
}

/** @throws RefusedRequestError */
function questionIn(value: unknown): { readonly method: string; readonly url: string } {
  const wanted = 'cannot read the body: write {"method": "GET", "url": "https://example.com/"}'
  if (typeof value !== 'object' || value === null) return refuse(422, wanted)
  const { method, url } = value as { readonly method?: unknown; readonly url?: unknown }
  if (typeof method !== 'string' || typeof url !== 'string') return refuse(422, wanted)
  return { method, url }
}
