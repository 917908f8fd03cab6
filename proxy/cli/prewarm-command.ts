import { createInterface } from 'node:readline'
import type { Screen } from '../../base/cli/progress.js'
import { PROXY_API_PORT } from '../../config/model/paths.js'
import type { ApiAccess } from './api-access.js'
import { askApi, readJson } from './api-client.js'
import { WarmApiError } from './errors.js'
import type { JobReport } from '../warm/prewarm-job.js'
import { Progress, summary } from './progress.js'

export interface PrewarmQuestion {
  readonly references: readonly string[]
  readonly platform: string | undefined
  readonly apiPort: number | undefined
  readonly json: boolean
}

/**
 * `prewarm IMAGE|URL…`; resolves with the exit code.
 *
 * @param onInterrupt is given what to do when the person has had enough.
 * @param access for a proxy that asks (`proxy.auth`).
 * @throws WarmApiError
 */
export async function prewarm(
  { references, platform, apiPort: port = PROXY_API_PORT, json }: PrewarmQuestion,
  screen: Screen,
  onInterrupt: (interrupt: () => void) => void,
  access: ApiAccess = {},
): Promise<number> {
  const body = { references, ...(platform === undefined ? {} : { platform }) }
  const started = (await readJson(
    await askApi(port, { ...access, method: 'POST', path: '/api/cache/prewarm', body }),
  )) as JobReport
  const path = `/api/cache/prewarm?id=${started.id}`
  let interrupted = false
  onInterrupt(() => {
    interrupted = true
    // The reports go on until the job has ended.
    askApi(port, { ...access, method: 'DELETE', path }).then(
      (answer) => answer.resume(),
      () => undefined,
    )
  })

  const progress = new Progress(screen, () => performance.now())
  let last = started
  const lines = createInterface({ input: await askApi(port, { method: 'GET', path: `${path}&follow=true` }) })
  for await (const line of lines) {
    last = JSON.parse(line) as JobReport
    if (json) screen.write(`${line}\n`)
    else progress.show(last)
  }
  if (last.state === 'running') throw new WarmApiError('cannot follow the job: the proxy has stopped')
  if (!json) screen.write(`${summary(last)}\n`)
  if (interrupted) return 130
  return last.state === 'done' ? 0 : 1
}
