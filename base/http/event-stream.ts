import type { ServerResponse } from 'node:http'
import { SAFE_HEADERS } from './problem.js'
import { writePaced } from './paced-write.js'

interface ServerEvent {
  readonly id?: string
  /** `message` where there is none. */
  readonly event?: string
  /** One line. */
  readonly data: string
}

/** Server-sent events (HTML, section 9.2), as slow as their reader. */
export class EventStream {
  readonly #response: ServerResponse
  readonly #stallMs: number
  readonly #heartbeat: NodeJS.Timeout

  /** @param stallMs half of it is how often a silent stream shows that it lives, so a dead client is found out. */
  constructor(response: ServerResponse, stallMs: number) {
    this.#response = response
    this.#stallMs = stallMs
    response.writeHead(200, { ...SAFE_HEADERS, 'Content-Type': 'text/event-stream' })
    response.flushHeaders()
    // Whatever is written meanwhile says the same; a client that does not take it is found out there.
    this.#heartbeat = setInterval(() => {
      this.#write(':\n\n').catch(() => {})
    }, stallMs / 2)
  }

  send({ id, event, data }: ServerEvent): Promise<void> {
    this.#heartbeat.refresh()
    const head = (id === undefined ? '' : `id: ${id}\n`) + (event === undefined ? '' : `event: ${event}\n`)
    return this.#write(`${head}data: ${data}\n\n`)
  }

  end(): void {
    clearInterval(this.#heartbeat)
    this.#response.end()
  }

  #write(text: string): Promise<void> {
    return writePaced(this.#response, text, this.#stallMs)
  }
}
