import type { RawData, WebSocket } from 'ws'
import { entry } from '../../../base/process/entry.js'
import type { Logger } from '../../../base/log/logger.js'
import type { LeaveReason } from '../../../base/http/route.js'
import { parseControl } from './control-message.js'
import type { Pty } from './pty.js'

export interface SessionLimits {
  /** A client that takes no output and answers no ping for so long is given up. */
  readonly clientTimeoutMs: number
  /** A terminal with neither input nor output for so long is ended. */
  readonly idleMs: number
}

type EndReason = 'ended' | 'idle' | 'stopping'

/** RFC 6455 section 7.4.1. */
const NORMAL = 1000
const GOING_AWAY = 1001
const PROTOCOL_ERROR = 1002

/**
 * Carries bytes between a WebSocket and a terminal, each side as slow as the other, until one of them ends. Resolves
 * when nothing of the terminal is left.
 *
 * @param signal aborts when the API is stopping.
 */
export async function runSession(
  socket: WebSocket,
  pty: Pty,
  limits: SessionLimits,
  signal: AbortSignal,
  logger: Logger,
): Promise<void> {
  // Changed by whoever ends it, which the compiler does not see.
  let reason = 'ended' as EndReason
  // What keeps it from ending is told where it is waited for.
  const hangUp = (): void => {
    pty.end().catch(() => undefined)
  }
  const end = (why: EndReason): void => {
    reason = why
    hangUp()
  }
  const stop = (): void => end((signal.reason as LeaveReason) === 'stopping' ? 'stopping' : 'ended')
  const idle = setTimeout(() => end('idle'), limits.idleMs)
  const heart = watchHeart(socket, limits.clientTimeoutMs)
  signal.addEventListener('abort', stop)
  if (signal.aborted) stop()
  socket.once('close', hangUp)
  // What follows an error is the close.
  socket.on('error', () => {})
  takeInput(socket, pty, () => idle.refresh(), logger)
  const output = sendOutput(socket, pty, () => idle.refresh())
  try {
    const { code, signal: by } = await pty.ended
    await pty.end()
    // Without `cgroup.kill` we cannot end what runs as another account, and it may hold the terminal for ever.
    const impatience = setTimeout(() => {
      pty.close().catch(() => undefined)
    }, limits.clientTimeoutMs)
    await output
    clearTimeout(impatience)
    if (socket.readyState === socket.OPEN) {
      socket.send(JSON.stringify({ exit: { code, signal: by, reason } }))
      socket.close(reason === 'stopping' ? GOING_AWAY : NORMAL)
    }
    await closed(socket, limits.clientTimeoutMs)
  } finally {
    clearTimeout(idle)
    clearInterval(heart)
    signal.removeEventListener('abort', stop)
    await pty.close()
  }
}

function takeInput(socket: WebSocket, pty: Pty, onTaken: () => void, logger: Logger): void {
  let waiting = 0
  const write = async (bytes: Buffer): Promise<void> => {
    waiting += 1
    socket.pause()
    await pty.write(bytes)
    waiting -= 1
    onTaken()
    if (waiting === 0 && socket.readyState === socket.OPEN) socket.resume()
  }
  const take = (data: RawData, isBinary: boolean): Promise<void> | void => {
    const bytes = bytesOf(data)
    if (isBinary) return write(bytes)
    const control = parseControl(bytes.toString())
    switch (control?.kind) {
      case 'input':
        return write(Buffer.from(control.text))
      case 'resize':
        return pty.resize(control.cols, control.rows)
      case undefined:
        return socket.close(PROTOCOL_ERROR, 'text must be {"input": …} or {"resize": {"cols": …, "rows": …}}')
    }
  }
  const connection = { destroy: () => socket.terminate() }
  socket.on('message', entry({ name: 'terminal', logger, ends: (_data) => connection }, take))
}

/** One piece at a time: the next is read when the socket has taken the last, so a slow client slows the program. */
async function sendOutput(socket: WebSocket, pty: Pty, onSent: () => void): Promise<void> {
  try {
    for await (const chunk of pty.output) {
      await new Promise<void>((resolve) => socket.send(chunk as Buffer, { binary: true }, () => resolve()))
      onSent()
    }
  } catch {
    // EIO: nobody is at the other end any more.
  }
}

/** Ends the connection of a client that is gone without a word, or takes nothing: then our ping waits behind it. */
function watchHeart(socket: WebSocket, timeoutMs: number): NodeJS.Timeout {
  let answered = true
  socket.on('pong', () => (answered = true))
  return setInterval(() => {
    // While its input waits for the program we do not read its answers either.
    if (!answered && !socket.isPaused) return socket.terminate()
    answered = false
    socket.ping()
  }, timeoutMs / 2)
}

async function closed(socket: WebSocket, timeoutMs: number): Promise<void> {
  if (socket.readyState === socket.CLOSED) return
  await new Promise<void>((resolve) => {
    const timer = setTimeout(() => socket.terminate(), timeoutMs)
    // Its answer to the close has to be read, though nobody takes its input any more.
    socket.resume()
    socket.once('close', () => {
      clearTimeout(timer)
      resolve()
    })
  })
}

function bytesOf(data: RawData): Buffer {
  if (Array.isArray(data)) return Buffer.concat(data)
  return data instanceof ArrayBuffer ? Buffer.from(data) : data
}
