import { formatProblem } from '../../config/problem.js'
import { readPlacesLine } from '../../config/render.js'
import type { DialGuardDeps } from '../dial.js'
import type { Explanation, InForce } from '../explain.js'
import type { LiveConfig } from '../live/live-config.js'
import type { WithheldSecrets } from '../secrets.js'
import { readBody } from './body.js'
import { refuse, type Routes } from './routes.js'
import type { UseCheck } from './use-check.js'

interface ExplainRoutesDeps {
  readonly live: LiveConfig
  readonly mayUse: UseCheck
  /** Of this proxy: what it dials is judged with. */
  readonly guard: DialGuardDeps
  readonly withheld: () => WithheldSecrets | undefined
}

/** What would become of a request, by what is in force. For who may use the proxy, since names are resolved for it. */
export function explainRoutes({ live, mayUse, guard, withheld }: ExplainRoutesDeps): Routes {
  return {
    '/api/explain': {
      POST: async ({ message }) => {
        mayUse(message)
        const { method, url } = questionIn(await readBody(message, ['application/json']))
        // Nothing of it is needed to serve.
        const [{ explain }, { ExplainUsageError, readQuestion }] = await Promise.all([
          import('../explain.js'),
          import('../explain-question.js'),
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
        return { status: 200, body: explanation }
      },
    },
  }
}

function inForce({ state }: LiveConfig, file: string | undefined): InForce {
  return {
    from: state.from,
    ...(file === undefined ? {} : { file }),
    revision: state.revision,
    problems: (state.rejected?.problems ?? []).map(formatProblem),
  }
}

/** @throws ReplyError */
function questionIn(text: string): { readonly method: string; readonly url: string } {
  const wanted = 'cannot read the body: write {"method": "GET", "url": "https://example.com/"}'
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    refuse(400, 'cannot read the body: it is not valid JSON')
  }
  if (typeof value !== 'object' || value === null) refuse(422, wanted)
  const { method, url } = value as { readonly method?: unknown; readonly url?: unknown }
  if (typeof method !== 'string' || typeof url !== 'string') refuse(422, wanted)
  return { method, url }
}
