import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/**
 * Makes a connection free for what Upgrade or CONNECT asks for. Node emits both as soon as it has read them, whatever
 * the connection still owes: answers under way, answers that wait for their turn, and answers that Node gives by
 * itself. A second answer or foreign bytes would mix with those, and `assignSocket` throws.
 *
 * Answers that are complete are let out first. One that is not cannot go on, because Node has taken its listeners off
 * the connection: there the connection is cut.
 *
 * @param cut ends the connection so that a part of an answer does not pass for the whole.
 * @returns whether the connection may be used; otherwise its end has been seen to.
 */
export async function takeOver(connection: Socket, cut: () => void): Promise<boolean> {
  for (;;) {
    if (connection.destroyed) return false
    const owed = owedAnswer(connection)
    if (owed === undefined) break
    if (!owed.writableEnded) {
      cut()
      return false
    }
    await closing(owed, connection)
  }
  if (connection.writable) return true
  // The last answer has closed it, or its client has.
  connection.destroySoon()
  return false
}

/**
 * The answer that a connection is giving. Node notes it there whoever makes it, and those that wait come only after it.
 * The field is not documented; `assignSocket` reads the same.
 */
function owedAnswer(connection: Socket): ServerResponse | undefined {
  return (connection as { _httpMessage?: ServerResponse | null })._httpMessage ?? undefined
}

function closing(answer: ServerResponse, connection: Socket): Promise<void> {
  return new Promise((resolve) => {
    const settle = (): void => {
      answer.off('close', settle)
      connection.off('close', settle)
      resolve()
    }
    answer.on('close', settle)
    connection.on('close', settle)
  })
}
