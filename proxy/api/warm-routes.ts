import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { shape } from '../../base/http/json-schema.js'
import { refuse, sendJson } from '../../base/http/problem.js'
import type { Query, QueryParameter } from '../../base/http/query.js'
import type { Exchange, Route } from '../../base/http/route.js'
import { sendStream } from '../../base/http/send-stream.js'
import { unattended } from '../../base/process/entry.js'
import type { Logger } from '../../base/log/logger.js'
import { WarmReferenceError } from '../../base/oci/errors.js'
import type { PrewarmJob } from '../warm/prewarm-job.js'
import type { Prewarmer } from '../warm/prewarmer.js'

/** Often enough for a bar that moves, seldom enough to cost nothing. */
const REPORT_INTERVAL_MS = 250

interface WarmDeps {
  readonly prewarmer: Prewarmer
  readonly logger: Logger
}

/** At most 100 references, each a URL at its longest. */
const MAX_REQUEST_BYTES = 1024 * 1024
const PATH = '/api/cache/prewarm'
const LINES_TYPE = 'application/x-ndjson'

const ID: QueryParameter = { kind: 'text', description: 'of the job' }
const NO_JOB = { 404: 'there is no such job' }

/**
 * Fetching ahead, with the proxy's own password and the operator's header rules: for those who can fetch the same
 * through the proxy, by the same rules.
 */
export function warmRoutes({ prewarmer, logger }: WarmDeps): readonly Route[] {
  return [
    {
      method: 'POST',
      path: PATH,
      access: 'write',
      summary: 'Start to fetch ahead',
      body: {
        description: 'images and URLs',
        content: { 'application/json': shape('PrewarmRequest') },
        maxBytes: MAX_REQUEST_BYTES,
      },
      answers: {
        202: {
          description: 'it has begun',
          content: { 'application/json': shape('PrewarmJob') },
          headers: { Location: { description: 'where its report is' } },
        },
      },
      problems: {
        422: 'the body is not as described, or names what is neither an image nor a URL',
        503: 'too many jobs run already',
      },
      handle: async ({ response, json }) => {
        const job = await start(prewarmer, await json())
        logger.info({ job: job.id, references: job.report().references.length }, 'prewarm started')
        const ended = job.ended.then(() => logger.info({ job: job.id, state: job.state }, 'prewarm ended'))
        unattended(logger, 'prewarm', ended)
        sendJson(response, job.report(), 202, { Location: `${PATH}?id=${job.id}` })
      },
    },
    {
      method: 'GET',
      path: PATH,
      access: 'read',
      summary: 'Reports of the running jobs and the last that have ended, or of one',
      query: {
        id: ID,
        follow: { kind: 'flag', description: 'of one: a report a line until the job has ended' },
      },
      answers: {
        200: {
          description: 'without an id, `{"jobs": […]}`',
          content: {
            'application/json': { oneOf: [shape('PrewarmJobs'), shape('PrewarmJob')] },
            [LINES_TYPE]: shape('PrewarmJob'),
          },
        },
      },
      problems: NO_JOB,
      handle: (exchange) => show(prewarmer, exchange),
    },
    {
      method: 'DELETE',
      path: PATH,
      access: 'write',
      summary: 'End a job; what came whole stays',
      query: { id: ID },
      answers: { 200: { description: 'its report', content: { 'application/json': shape('PrewarmJob') } } },
      problems: NO_JOB,
      handle: async ({ response, query }) => {
        const job = found(prewarmer, query)
        job.cancel()
        sendJson(response, job.report())
      },
    },
  ]
}

/** @throws RefusedRequestError */
async function start(prewarmer: Prewarmer, body: unknown): Promise<PrewarmJob> {
  const { prewarmRequestOf } = await import('../warm/prewarm-request.js')
  const request = prewarmRequestOf(body)
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

async function show(prewarmer: Prewarmer, { response, query }: Exchange): Promise<void> {
  if (query.text('id') === undefined) return sendJson(response, { jobs: prewarmer.reports() })
  const job = found(prewarmer, query)
  if (!query.flag('follow')) return sendJson(response, job.report())
  await sendStream(response, Readable.from(reports(job)), LINES_TYPE)
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

/** @throws RefusedRequestError */
function found(prewarmer: Prewarmer, query: Query): PrewarmJob {
  const id = query.text('id') ?? ''
  return prewarmer.find(id) ?? refuse(404, `there is no job ${JSON.stringify(id.slice(0, 40))}`)
}
