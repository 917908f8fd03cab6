import type { WebSocket, WebSocketServer } from 'ws'
import type { Logger } from '../../../base/log/logger.js'
import type { ServiceGroup } from '../../cgroups/service-group.js'
import type { WorkspaceTree } from '../files/tree.js'
import { ClientGoneError } from '../../../base/http/paced-write.js'
import { refuse, RefusedRequestError } from '../../../base/http/problem.js'
import type { Route, Upgrade } from '../../../base/http/route.js'
import type { Limits } from '../settings/settings.js'
import { Slots } from '../../../base/http/slots.js'
import { MAX_SIZE } from '../terminal/control-message.js'
import { TerminalError } from '../terminal/terminal-error.js'
import type { Pty } from '../terminal/pty.js'

interface TerminalDeps {
  readonly tree: WorkspaceTree
  readonly env: Readonly<Record<string, string>>
  /** An interactive one. */
  readonly shell: string
  readonly limits: Limits
  readonly logger: Logger
  readonly groups?: ServiceGroup
}

/** Chosen of those a client offers; the one that carries the token is never said back. */
const TERMINAL_PROTOCOL = 'discobot.terminal'

/** A paste; larger ones come in several messages. */
const MAX_MESSAGE_BYTES = 1024 * 1024
const DEFAULT_COLS = 80
const DEFAULT_ROWS = 24

export function terminalRoute(deps: TerminalDeps): Route {
  const slots = new Slots(deps.limits.terminals, 'terminals')
  // Made with the first terminal.
  let server: Promise<WebSocketServer> | undefined
  return {
    method: 'GET',
    path: '/api/terminal',
    access: 'write',
    summary: 'A shell in a terminal, over WebSocket',
    description:
      'Binary messages are the bytes of the terminal, both ways. Text messages are JSON: {"input": "text"} and ' +
      '{"resize": {"cols": 80, "rows": 24}} from the client, {"exit": {"code", "signal", "reason"}} at the end from ' +
      'the server. When the connection ends, so does everything that runs in the terminal.',
    query: {
      cols: { kind: 'whole', min: 1, max: MAX_SIZE, description: `${DEFAULT_COLS} when left out` },
      rows: { kind: 'whole', min: 1, max: MAX_SIZE, description: `${DEFAULT_ROWS} when left out` },
      cwd: { kind: 'text', description: 'a folder, relative to the workspace' },
    },
    headers: {
      'Sec-WebSocket-Protocol': {
        description: `${TERMINAL_PROTOCOL}, and where a browser cannot send Authorization discobot.token.BASE64URL`,
      },
    },
    answers: { 101: { description: 'the terminal is open' } },
    problems: {
      404: 'cwd does not exist',
      409: 'cwd is no folder',
      426: 'it was not asked for as a WebSocket',
      429: 'too many terminals are open already',
      501: 'this machine has no terminals to give',
    },
    endless: true,
    handle: async () => refuse(426, 'this is a WebSocket', { upgrade: 'websocket', connection: 'upgrade' }),
    upgrade: async (upgrade) => {
      const free = slots.take()
      try {
        server ??= import('ws').then((ws) => makeServer(ws.WebSocketServer))
        await serve(deps, await server, upgrade)
      } finally {
        free()
      }
    },
  }
}

function makeServer(Server: typeof WebSocketServer): WebSocketServer {
  return new Server({
    noServer: true,
    maxPayload: MAX_MESSAGE_BYTES,
    // Costs memory for each connection, and what is typed is short.
    perMessageDeflate: false,
    handleProtocols: (offered) => (offered.has(TERMINAL_PROTOCOL) ? TERMINAL_PROTOCOL : false),
  })
}

async function serve(deps: TerminalDeps, server: WebSocketServer, upgrade: Upgrade): Promise<void> {
  const { runSession } = await import('../terminal/session.js')
  const { clientTimeoutMs, terminalIdleMs: idleMs } = deps.limits
  // First, so that what cannot be opened is still answered in HTTP.
  const pty = await openTerminal(deps, upgrade)
  let socket: WebSocket
  try {
    socket = await accept(server, upgrade)
  } catch (error) {
    await pty.end()
    await pty.close()
    throw error
  }
  await runSession(socket, pty, { clientTimeoutMs, idleMs }, upgrade.signal, deps.logger)
}

async function openTerminal({ tree, env, shell, groups }: TerminalDeps, { query }: Upgrade): Promise<Pty> {
  const { openPty } = await import('../terminal/pty.js')
  const folder = await tree.openFolder(query.text('cwd') ?? '')
  try {
    return await openPty({
      argv: [shell],
      // Entered through the open folder: its name may lead elsewhere by now.
      cwd: folder.path,
      env: { ...env, TERM: 'xterm-256color' },
      cols: query.whole('cols') ?? DEFAULT_COLS,
      rows: query.whole('rows') ?? DEFAULT_ROWS,
      ...(groups === undefined ? {} : { groups }),
    })
  } catch (error) {
    if (error instanceof TerminalError) return refuse(501, error.message)
    throw error
  } finally {
    await folder.close()
  }
}

function accept(server: WebSocketServer, { request, socket, head, signal }: Upgrade): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    // ws would answer in its own words.
    const onRefused = (error: Error, refused: unknown): void => {
      if (refused !== socket) return
      done()
      const detail = `this is no WebSocket handshake: ${error.message}`
      reject(new RefusedRequestError({ status: 400, detail }, { cause: error }))
    }
    // Of a client that has left meanwhile ws says nothing.
    const onLeft = (): void => {
      done()
      reject(new ClientGoneError('the client has left'))
    }
    const done = (): void => {
      server.off('wsClientError', onRefused)
      signal.removeEventListener('abort', onLeft)
    }
    if (signal.aborted) return onLeft()
    signal.addEventListener('abort', onLeft)
    server.on('wsClientError', onRefused)
    server.handleUpgrade(request, socket, head, (accepted) => {
      done()
      resolve(accepted)
    })
  })
}
