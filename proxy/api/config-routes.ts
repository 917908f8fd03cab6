import { DiscobotError } from '../../config/errors.js'
import { ConfigError, type Problem } from '../../config/problem.js'
import { redactConfig } from '../../config/redact.js'
import { isRendered, readTroubleLine } from '../../config/render.js'
import type { ChangeBody } from '../live/change.js'
import { PersistError, RevisionError } from '../live/errors.js'
import type { ConfigState, LiveConfig } from '../live/live-config.js'
import { mediaType, readBody } from './body.js'
import { refuse, ReplyError, type ApiRequest, type Reply, type Routes } from './routes.js'
import { authorize, type TokenCheck } from './token.js'

const JSON_TYPE = 'application/json'
const PATCH_TYPE = 'application/merge-patch+json'
const YAML_TYPE = 'application/yaml'

interface ConfigDeps {
  readonly live: LiveConfig
  readonly token: TokenCheck
}

/** The configuration in force: to be read by anybody on this machine, changed by who has the token. */
export function configRoutes(deps: ConfigDeps): Routes {
  const replace = (request: ApiRequest): Promise<Reply> =>
    change(deps, request, 'replace', [JSON_TYPE, YAML_TYPE])
  return {
    '/api/config': {
      GET: () => shown(deps.live),
      PUT: replace,
      POST: replace,
      // RFC 5789, 3.1
      PATCH: (request) => change(deps, request, 'merge', [PATCH_TYPE, JSON_TYPE]),
    },
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

function shown(live: LiveConfig): Reply {
  const { state, file } = live
  const sources = Object.entries(state.desired.sources).map(([key, [origin]]) => [
    key,
    shownOrigin(origin, state),
  ])
  return {
    status: 200,
    headers: { ETag: etag(state) },
    body: {
      revision: state.revision,
      from: state.from,
      file: file ?? null,
      config: redactConfig(state.config),
      pending_restart: state.pendingRestart,
      ...(configTrouble(live) ?? { state: 'in force', problems: [] }),
      sources: Object.fromEntries(sources) as unknown,
    },
  }
}

function shownOrigin(
  origin: ConfigState['desired']['sources'][string][number] | undefined,
  { from }: ConfigState,
) {
  if (origin === undefined || origin.layer === 'default') return { from: 'default' }
  return from === 'file' ? { from, file: origin.file, line: origin.line, col: origin.col } : { from }
}

async function change(
  { live, token }: ConfigDeps,
  { message, query }: ApiRequest,
  kind: 'replace' | 'merge',
  types: readonly string[],
): Promise<Reply> {
  authorize(message, token)
  const persist = persistence(query)
  const text = await readBody(message, types)
  const body = parseBody(mediaType(message), text)
  try {
    const state = await live.change({ kind, body, persist, matches: matcher(message.headers['if-match']) })
    return {
      status: 200,
      headers: { ETag: etag(state) },
      body: {
        status: 'ok',
        revision: state.revision,
        persisted: persist,
        lasts: lasts(state),
        pending_restart: state.pendingRestart,
      },
    }
  } catch (error) {
    throw refusal(error, body.format)
  }
}

function lasts({ from, text }: ConfigState): string {
  if (from !== 'file') return 'until the configuration file changes, SIGHUP or the next start'
  return isRendered(text)
    ? 'until the agent writes the file anew, at its start or SIGHUP'
    : 'until it is changed again'
}

/** @throws ReplyError: a misspelt wish to persist must not pass for none. */
function persistence(query: URLSearchParams): boolean {
  const unknown = [...query.keys()].find((name) => name !== 'persist')
  if (unknown !== undefined) refuse(400, `unknown query parameter ${JSON.stringify(unknown)}; known: persist`)
  const value = query.get('persist')
  if (value === null || value === 'false') return false
  if (value !== 'true') refuse(400, 'persist must be true or false')
  return true
}

/** @throws ReplyError */
function parseBody(type: string, text: string): ChangeBody {
  if (type === YAML_TYPE) return { format: 'yaml', text }
  try {
    return { format: 'json', value: JSON.parse(text) as unknown }
  } catch {
    // The parser's message quotes the text, which may hold secrets.
    refuse(400, 'cannot read the body: it is not valid JSON')
  }
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
  if (error instanceof RevisionError) {
    return new ReplyError({ status: 412, body: { error: error.message, code: error.code } })
  }
  if (error instanceof PersistError) {
    return new ReplyError({ status: 409, body: { error: error.message, code: error.code } })
  }
  if (error instanceof DiscobotError && !(error instanceof ConfigError)) {
    return new ReplyError({ status: 422, body: { error: error.message, code: error.code } })
  }
  if (!(error instanceof ConfigError)) return error
  const problems = error.problems.map(shownProblem).map(({ file: _, line, col, ...problem }) => ({
    ...problem,
    // Of JSON only our own rendering has lines.
    ...(format === 'yaml' && line !== undefined ? { line, col } : {}),
  }))
  const body = { error: 'cannot use the configuration; nothing was changed', code: error.code, problems }
  return new ReplyError({ status: 422, body })
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
