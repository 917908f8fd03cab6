import { shape } from '../../base/http/json-schema.js'
import { parseJson, mediaType } from '../../base/http/request-body.js'
import { RefusedRequestError, sendJson } from '../../base/http/problem.js'
import type { Exchange, Route } from '../../base/http/route.js'
import { MAX_CONFIG_BYTES } from '../../config/layers/config-texts.js'
import { DiscobotError } from '../../base/errors.js'
import { ConfigError, type Problem } from '../../config/yaml/problem.js'
import { redactConfig } from '../../config/compose/redact.js'
import { isRendered, readTroubleLine } from '../../config/compose/render.js'
import type { ChangeBody } from '../live/change.js'
import { PersistError, RevisionError } from '../live/errors.js'
import type { ConfigState, LiveConfig } from '../live/live-config.js'

const JSON_TYPE = 'application/json'
const PATCH_TYPE = 'application/merge-patch+json'
const YAML_TYPE = 'application/yaml'
const PATH = '/api/config'

const REVISION = { ETag: { description: 'the revision, for If-Match' } }

/** The configuration in force: to be read by anybody on this machine, changed by who has the token. */
export function configRoutes(live: LiveConfig): readonly Route[] {
  const merge = { kind: 'merge', types: [PATCH_TYPE, JSON_TYPE] } as const
  const replace = { kind: 'replace', types: [JSON_TYPE, YAML_TYPE] } as const
  return [
    {
      method: 'GET',
      path: PATH,
      access: 'read',
      summary: 'What is in force, without header values; for each key, where it comes from',
      answers: {
        200: {
          description: 'all of it',
          content: { 'application/json': shape('ConfigInForce') },
          headers: REVISION,
        },
      },
      handle: async ({ response }) => show(live, response),
    },
    changeRoute(live, 'PUT', "Replace the file's part; what is left out is the default", replace),
    changeRoute(live, 'POST', 'The same as PUT', replace),
    // RFC 5789, 3.1
    changeRoute(live, 'PATCH', 'Change what it names; null returns a key to its default', merge),
  ]
}

interface Change {
  readonly kind: 'replace' | 'merge'
  readonly types: readonly string[]
}

function changeRoute(
  live: LiveConfig,
  method: 'PUT' | 'POST' | 'PATCH',
  summary: string,
  { kind, types }: Change,
): Route {
  const content = Object.fromEntries(types.map((type) => [type, { type: 'object' }]))
  return {
    method,
    path: PATH,
    access: 'token',
    summary,
    query: {
      persist: { kind: 'flag', description: 'writes it to the file that the proxy was started with' },
    },
    headers: { 'If-Match': { description: 'revisions: 412 unless the one in force is one of them' } },
    body: { description: 'the file, or a merge patch of it', content, maxBytes: MAX_CONFIG_BYTES },
    answers: {
      200: {
        description: 'it is in force',
        content: { 'application/json': shape('ConfigChanged') },
        headers: REVISION,
      },
    },
    problems: {
      409: 'the change cannot be written to the file, and was not made (CONFIG_NOT_PERSISTED)',
      412: 'If-Match names another revision (CONFIG_REVISION_STALE)',
      422: 'the configuration is wrong (CONFIG_INVALID); `problems` says where',
    },
    handle: (exchange) => change(live, exchange, kind),
  }
}

/** For `/health`: undefined while the file is in force. */
export function configTrouble({ state }: LiveConfig): object | undefined {
  const trouble = readTroubleLine(state.text)
  // The agent has composed what is in force, and this is what it says of the operator's file.
  if (state.rejected === undefined)
    return trouble === undefined ? undefined : { state: 'rejected', problems: [{ message: trouble }] }
  const { problems, sinceMs } = state.rejected
  return {
    state: 'rejected',
    problems: problems.map(shownProblem),
    since: new Date(sinceMs).toISOString(),
  }
}

function show(live: LiveConfig, response: Exchange['response']): void {
  const { state, file } = live
  const sources = Object.entries(state.desired.sources).map(([key, [origin]]) => [
    key,
    shownOrigin(origin, state),
  ])
  const body = {
    revision: state.revision,
    from: state.from,
    file: file ?? null,
    config: redactConfig(state.config),
    pending_restart: state.pendingRestart,
    ...(configTrouble(live) ?? { state: 'in force', problems: [] }),
    sources: Object.fromEntries(sources) as unknown,
  }
  sendJson(response, body, 200, { ETag: etag(state) })
}

function shownOrigin(
  origin: ConfigState['desired']['sources'][string][number] | undefined,
  { from }: ConfigState,
) {
  if (origin === undefined || origin.layer === 'default') return { from: 'default' }
  return from === 'file' ? { from, file: origin.file, line: origin.line, col: origin.col } : { from }
}

async function change(
  live: LiveConfig,
  { request, response, query, text }: Exchange,
  kind: 'replace' | 'merge',
): Promise<void> {
  const { headers } = request
  const persist = query.flag('persist')
  const body = bodyOf(mediaType(headers), await text())
  const state = await live
    .change({ kind, body, persist, matches: matcher(headers['if-match']) })
    .catch((error: unknown) => {
      throw refusal(error, body.format)
    })
  const answer = {
    status: 'ok',
    revision: state.revision,
    persisted: persist,
    lasts: lasts(state),
    pending_restart: state.pendingRestart,
  }
  sendJson(response, answer, 200, { ETag: etag(state) })
}

function lasts({ from, text }: ConfigState): string {
  if (from !== 'file') return 'until the configuration file changes, SIGHUP or the next start'
  return isRendered(text)
    ? 'until the agent writes the file anew, at its start or SIGHUP'
    : 'until it is changed again'
}

/** @throws RefusedRequestError */
function bodyOf(type: string, text: string): ChangeBody {
  return type === YAML_TYPE ? { format: 'yaml', text } : { format: 'json', value: parseJson(text) }
}

/** RFC 9110, 13.1.1: strong comparison, so a weak tag matches nothing. */
function matcher(header: string | undefined): (revision: string) => boolean {
  if (header === undefined || header.trim() === '*') return () => true
  const tags = header.split(',').map((tag) => tag.trim())
  return (revision) => tags.includes(`"${revision}"`)
}

function etag({ revision }: ConfigState): string {
  return `"${revision}"`
}

function refusal(error: unknown, format: ChangeBody['format']): unknown {
  if (!(error instanceof DiscobotError)) return error
  const { message: detail, code } = error
  const refused = (status: number): RefusedRequestError =>
    new RefusedRequestError({ status, detail, code }, { cause: error })
  if (error instanceof RevisionError) return refused(412)
  if (error instanceof PersistError) return refused(409)
  if (!(error instanceof ConfigError)) return refused(422)
  const problems = error.problems.map(shownProblem).map(({ file: _, line, col, ...problem }) => ({
    ...problem,
    // Of JSON only our own rendering has lines.
    ...(format === 'yaml' && line !== undefined ? { line, col } : {}),
  }))
  const told = { status: 422, detail: 'cannot use the configuration; nothing was changed', code }
  return new RefusedRequestError({ ...told, more: { problems } }, { cause: error })
}

interface ShownProblem {
  readonly file: string
  readonly line?: number
  readonly col?: number
  /** Dotted key. */
  readonly option?: string
  readonly message: string
}

function shownProblem({ file, mark, message }: Problem): ShownProblem {
  // Messages about an option begin by naming it, as a JSON string.
  const named = /^(?:unknown )?option ("(?:[^"\\]|\\.)*")/.exec(message)?.[1]
  return {
    file,
    ...mark,
    ...(named === undefined ? {} : { option: JSON.parse(named) as string }),
    message,
  }
}
