import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { unattended } from '../../config/entry.js'
import type { Logger } from '../../config/logger.js'
import { WarmReferenceError } from '../warm/errors.js'
import type { PrewarmJob } from '../warm/prewarm-job.js'
import type { Prewarmer } from '../warm/prewarmer.js'
import { readBody } from './body.js'
import { refuse, StreamBody, type ApiRequest, type Reply, type Routes } from './routes.js'
import type { UseCheck } from './use-check.js'

/** Often enough for a bar that moves, seldom enough to cost nothing. */
const REPORT_INTERVAL_MS = 250

interface WarmDeps {
  readonly prewarmer: Prewarmer
  readonly mayUse: UseCheck
  readonly logger: Logger
}

/**
 * Fetching ahead, with the proxy's own password and the operator's header rules: for those who can fetch the same
 * through the proxy, by the same rules.
 */
export function warmRoutes({ prewarmer, mayUse, logger }: WarmDeps): Routes {
  return {
    '/api/cache/prewarm': {
      POST: async ({ message }) => {
        mayUse(message)
        const job = await start(prewarmer, await readBody(message, ['application/json']))
        logger.info({ job: job.id, references: job.report().references.length }, 'prewarm started')
        const ended = job.ended.then(() => logger.info({ job: job.id, state: job.state }, 'prewarm ended'))
        unattended(logger, 'prewarm', ended)
        return { status: 202, headers: { Location: `/api/cache/prewarm?id=${job.id}` }, body: job.report() }
      },
      GET: ({ query }) => shown(prewarmer, query),
      DELETE: (request) => {
        mayUse(request.message)
        const job = found(prewarmer, request)
        job.cancel()
        return { status: 200, body: job.report() }
      },
    },
  }
}

/** @throws ReplyError */
async function start(prewarmer: Prewarmer, text: string): Promise<PrewarmJob> {
  const { prewarmRequestOf } = await import('../warm/prewarm-request.js')
  const request = prewarmRequestOf(parseJson(text))
  if (request === undefined) {
    refuse(422, 'cannot read the body: write {"references": ["alpine:3"], "platform": "linux/amd64"}')
  }
  try {
    const job = await prewarmer.start(request)
    if (job === undefined)
      refuse(503, 'too many jobs run already; try again when one has ended', { 'Retry-After': '10' })
    return job
  } catch (error) {
    if (error instanceof WarmReferenceError) refuse(422, error.message)
    throw error
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    refuse(400, 'cannot read the body: it is not valid JSON')
  }
}

function shown(prewarmer: Prewarmer, query: URLSearchParams): Reply {
  if (!query.has('id')) return { status: 200, body: { jobs: prewarmer.reports() } }
  const job = found(prewarmer, { query })
  if (query.get('follow') !== 'true') return { status: 200, body: job.report() }
  return { status: 200, body: new StreamBody(Readable.from(reports(job)), 'application/x-ndjson') }
}

/** A report a line, the last one when the job has ended. */
async function* reports(job: PrewarmJob): AsyncGenerator<string> {
  const line = (): string => `${JSON.stringify(job.report())}\n`
  while (job.state === 'running') {
    yield line()
    await Promise.race([sleep(REPORT_INTERVAL_MS), job.ended])
  }
  await job.ended
  yield line()
}

/** @throws ReplyError */
function found(prewarmer: Prewarmer, { query }: Pick<ApiRequest, 'query'>): PrewarmJob {
  const id = query.get('id') ?? ''
  return prewarmer.find(id) ?? refuse(404, `there is no job ${JSON.stringify(id.slice(0, 40))}`)
}
