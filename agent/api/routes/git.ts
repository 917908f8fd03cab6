import { gitDiff } from '../git/diff.js'
import { GitFailedError, runGit, type GitOptions } from '../git/run-git.js'
import { parseStatus, STATUS_ARGUMENTS } from '../git/status.js'
import { refuse, SAFE_HEADERS, sendJson } from '../../../base/http/problem.js'
import type { Route } from '../../../base/http/route.js'
import { Slots } from '../../../base/http/slots.js'

interface GitDeps {
  readonly workspace: string
  /** PATH and HOME are what git needs. */
  readonly env: Readonly<Record<string, string>>
}

/** People wait so long for a large tree; programs too. */
const TIMEOUT_MS = 30_000
/** Some 10,000 changed files. */
const MAX_STATUS_BYTES = 1024 * 1024
/** More nobody reads; `path` gives the rest. */
const MAX_DIFF_BYTES = 4 * 1024 * 1024
/** Each is a process that reads the whole tree. */
const AT_ONCE = 4

const PROBLEMS = {
  409: 'the workspace is no git repository, or git refuses it',
  429: 'too many git commands run already',
  503: `git did not answer within ${TIMEOUT_MS / 1000} s`,
}

const NULLABLE_TEXT = { type: ['string', 'null'] }
const NULLABLE_COUNT = { type: ['integer', 'null'] }

export function gitRoutes({ workspace, env }: GitDeps): readonly Route[] {
  const slots = new Slots(AT_ONCE, 'git commands')
  const options = (maxBytes: number): GitOptions => ({
    path: workspace,
    env,
    timeoutMs: TIMEOUT_MS,
    maxBytes,
  })
  return [
    {
      method: 'GET',
      path: '/api/git/status',
      access: 'read',
      summary: 'Branch and changed files of the workspace',
      answers: {
        200: {
          description: 'index and worktree hold the letters of git-status(1)',
          content: {
            'application/json': {
              type: 'object',
              required: ['branch', 'commit', 'upstream', 'ahead', 'behind', 'files', 'truncated'],
              properties: {
                branch: NULLABLE_TEXT,
                commit: NULLABLE_TEXT,
                upstream: NULLABLE_TEXT,
                ahead: NULLABLE_COUNT,
                behind: NULLABLE_COUNT,
                truncated: { type: 'boolean', description: 'there are more files' },
                files: {
                  type: 'array',
                  items: {
                    type: 'object',
                    required: ['path', 'index', 'worktree'],
                    properties: {
                      path: { type: 'string' },
                      index: { type: 'string' },
                      worktree: { type: 'string' },
                      from: { type: 'string', description: 'of a file that was renamed or copied' },
                    },
                  },
                },
              },
            },
          },
        },
      },
      problems: PROBLEMS,
      handle: async ({ response }) => {
        const { output, truncated } = await ask(slots, () =>
          runGit(options(MAX_STATUS_BYTES), STATUS_ARGUMENTS),
        )
        sendJson(response, { ...parseStatus(output.toString()), truncated })
      },
    },
    {
      method: 'GET',
      path: '/api/git/diff',
      access: 'read',
      summary: 'What has changed since a commit, as a patch',
      description: 'Untracked files are not in it; the status names them.',
      query: {
        base: { kind: 'text', description: 'commit, branch or tag; HEAD when left out' },
        path: { kind: 'text', description: 'one file or folder, relative to the workspace' },
        staged: { kind: 'flag', description: 'compares the index instead of the files' },
      },
      answers: {
        200: {
          description: 'the patch, 4 MiB at most',
          content: { 'text/x-diff': {} },
          headers: { 'Discobot-Truncated': { description: 'true when there is more' } },
        },
      },
      problems: { ...PROBLEMS, 404: 'there is no such commit' },
      handle: async ({ response, query }) => {
        const [base, path] = [query.text('base'), query.text('path')]
        if (path !== undefined && (path.startsWith('/') || path.split('/').includes('..')))
          refuse(400, 'the path must be relative to the workspace, without ".."')
        const { output, truncated } = await ask(slots, () =>
          gitDiff(options(MAX_DIFF_BYTES), {
            ...(base === undefined ? {} : { base }),
            ...(path === undefined || path === '' ? {} : { path }),
            staged: query.flag('staged'),
          }),
        )
        response.writeHead(200, {
          ...SAFE_HEADERS,
          'content-type': 'text/x-diff',
          'content-length': output.length,
          'discobot-truncated': String(truncated),
        })
        response.end(output)
      },
    },
  ]
}

async function ask<Value>(slots: Slots, work: () => Promise<Value>): Promise<Value> {
  const free = slots.take()
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof GitFailedError)) throw error
    return refuse(error.kind === 'late' ? 503 : 409, error.message)
  } finally {
    free()
  }
}
