import { setTimeout as after } from 'node:timers'
import type { Readable } from 'node:stream'
import { codeOf } from '../../../base/errors.js'
import type { ServiceGroup } from '../../cgroups/service-group.js'
import { CommandStartError, startCommand, type Command } from '../command/command.js'
import { EXEC_SCHEMA, parseExecRequest, type ExecRequest } from '../command/exec-request.js'
import { Utf8Chunks, type OutputData } from '../command/utf8-chunks.js'
import type { WorkspaceTree } from '../files/tree.js'
import { writePaced } from '../../../base/http/paced-write.js'
import { refuse, SAFE_HEADERS } from '../../../base/http/problem.js'
import type { Exchange, LeaveReason, Route } from '../../../base/http/route.js'
import type { Limits } from '../settings/settings.js'
import { Slots } from '../../../base/http/slots.js'

interface ExecDeps {
  readonly tree: WorkspaceTree
  readonly env: Readonly<Record<string, string>>
  readonly limits: Limits
  readonly groups?: ServiceGroup
}

/** stdin comes in the body too. */
const MAX_BODY_BYTES = 8 * 1024 * 1024

type ExitReason = 'ended' | 'timed-out' | 'stopping'

const EVENT_SCHEMA = {
  oneOf: [
    {
      type: 'object',
      required: ['stream', 'data'],
      properties: {
        stream: { enum: ['stdout', 'stderr'] },
        data: { type: 'string' },
        encoding: { const: 'base64', description: 'only where data is not UTF-8' },
      },
    },
    {
      type: 'object',
      required: ['exit'],
      properties: {
        exit: {
          type: 'object',
          required: ['code', 'signal', 'reason'],
          properties: {
            code: { type: ['integer', 'null'] },
            signal: { type: ['string', 'null'] },
            reason: { enum: ['ended', 'timed-out', 'stopping'] },
          },
        },
      },
    },
  ],
}

export function execRoute(deps: ExecDeps): Route {
  const slots = new Slots(deps.limits.commands, 'commands')
  return {
    method: 'POST',
    path: '/api/exec',
    access: 'write',
    summary: 'Run a command in the workspace',
    description:
      'Output comes while the command runs, and the command is as slow as its reader. When it ends, its time runs ' +
      'out or the client leaves, everything it has started is ended too.',
    body: {
      description: 'argv or shell',
      content: { 'application/json': EXEC_SCHEMA },
      maxBytes: MAX_BODY_BYTES,
    },
    answers: {
      200: {
        description: 'a JSON object a line; the last one tells how it ended',
        content: { 'application/x-ndjson': EVENT_SCHEMA },
      },
    },
    problems: {
      404: 'cwd does not exist',
      409: 'cwd is no folder',
      422: 'the body is not as described, or there is no such program',
      429: 'too many commands run already',
    },
    handle: async (exchange) => {
      const free = slots.take()
      try {
        const body = await exchange.json()
        await run(deps, exchange, parseExecRequest(body))
      } finally {
        free()
      }
    },
  }
}

async function run(deps: ExecDeps, exchange: Exchange, wanted: ExecRequest): Promise<void> {
  const command = await start(deps, wanted)
  const { response, signal } = exchange
  const stallMs = deps.limits.clientTimeoutMs
  let reason: ExitReason = 'ended'
  // What keeps it from ending is told at the end, where it is waited for.
  const end = (): void => {
    command.end().catch(() => undefined)
  }
  const stop = (why: ExitReason): void => {
    reason = why
    end()
  }
  const onAbort = (): void => stop((signal.reason as LeaveReason) === 'stopping' ? 'stopping' : 'ended')
  const timer = after(() => stop('timed-out'), wanted.timeoutMs)
  signal.addEventListener('abort', onAbort)
  if (signal.aborted) onAbort()
  response.writeHead(200, { 'content-type': 'application/x-ndjson', ...SAFE_HEADERS })
  response.flushHeaders()
  const write = (line: object): Promise<void> => writePaced(response, `${JSON.stringify(line)}\n`, stallMs)
  const output = Promise.all([
    pump(command.stdout, (data) => write({ stream: 'stdout', ...data })),
    pump(command.stderr, (data) => write({ stream: 'stderr', ...data })),
  ])
  // A client that has left or takes nothing any more.
  output.catch(end)
  try {
    const { code, signal: by } = await command.ended
    clearTimeout(timer)
    await command.end()
    releasePipes(command, stallMs)
    await output
    await write({ exit: { code, signal: by, reason } })
    response.end()
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', onAbort)
    await command.end()
  }
}

async function start({ tree, env, groups }: ExecDeps, { cwd, ...wanted }: ExecRequest): Promise<Command> {
  const inGroups = groups === undefined ? {} : { groups }
  const folder = await tree.openFolder(cwd)
  try {
    // Entered through the open folder: its name may lead elsewhere by now.
    return await startCommand({ ...wanted, ...inGroups, cwd: folder.path, env: { ...env, ...wanted.env } })
  } catch (error) {
    if (error instanceof CommandStartError) return refuse(422, error.message)
    throw error
  } finally {
    await folder.close()
  }
}

async function pump(source: Readable, write: (data: OutputData) => Promise<void>): Promise<void> {
  const chunks = new Utf8Chunks()
  const send = async (data: OutputData | undefined): Promise<void> => {
    if (data !== undefined) await write(data)
  }
  try {
    for await (const chunk of source) await send(chunks.take(chunk as Buffer))
  } catch (error) {
    if (codeOf(error) !== 'ERR_STREAM_PREMATURE_CLOSE') throw error
  }
  await send(chunks.end())
}

/** Without `cgroup.kill`, what runs as another account cannot be ended by us, and may hold the pipes for ever. */
function releasePipes({ stdout, stderr }: Command, afterMs: number): void {
  for (const pipe of [stdout, stderr]) {
    const timer = after(() => pipe.destroy(), afterMs)
    pipe.once('close', () => clearTimeout(timer))
  }
}
