import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'

/** A request to 17081 that has been let in. */
export interface ApiRequest {
  readonly message: IncomingMessage
  readonly query: URLSearchParams
}

/** An answer, as JSON unless it is text or a stream. */
export interface Reply {
  readonly status: number
  readonly body: object | TextBody | StreamBody
  readonly headers?: Readonly<Record<string, string>>
}

export class TextBody {
  constructor(
    readonly text: string,
    /** Of the `Content-Type` header. */
    readonly type: string,
  ) {}
}

/** What takes its time; destroyed when the client leaves. An error in it resets the connection. */
export class StreamBody {
  constructor(
    readonly stream: Readable,
    /** Of the `Content-Type` header. */
    readonly type: string,
  ) {}
}

type Handler = (request: ApiRequest) => Reply | Promise<Reply>

/** Path → method → what answers it. HEAD and OPTIONS are answered for all of them. */
export type Routes = Readonly<Record<string, Readonly<Record<string, Handler>>>>

/** An answer other than success, thrown by what a handler calls. */
export class ReplyError extends Error {
  constructor(readonly reply: Reply) {
    super(`status ${reply.status}`)
  }
}

/** @throws ReplyError */
export function refuse(status: number, error: string, headers?: Readonly<Record<string, string>>): never {
  throw new ReplyError({ status, body: { error }, ...(headers === undefined ? {} : { headers }) })
}
