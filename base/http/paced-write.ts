import type { ServerResponse } from 'node:http'

/** The client does not take what it asked for: it has left, or reads nothing. */
export class ClientGoneError extends Error {
  readonly code = 'API_CLIENT_GONE'

  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = new.target.name
  }
}

/**
 * Writes `chunk` and resolves when more may be written, so whoever waits for it is as slow as the client.
 *
 * @param stallMs a client that takes nothing for so long is given up.
 * @throws ClientGoneError
 */
export function writePaced(response: ServerResponse, chunk: string | Buffer, stallMs: number): Promise<void> {
  if (response.destroyed || response.closed) return Promise.reject(new ClientGoneError('the client has left'))
  if (response.write(chunk)) return Promise.resolve()
  return new Promise((resolve, reject) => {
    const settle = (error?: ClientGoneError): void => {
      clearTimeout(timer)
      response.off('drain', settle)
      response.off('close', gone)
      if (error === undefined) resolve()
      else reject(error)
    }
    const gone = (): void => settle(new ClientGoneError('the client has left'))
    const timer = setTimeout(() => {
      settle(new ClientGoneError(`the client took nothing for ${stallMs} ms`))
      response.destroy()
    }, stallMs)
    response.once('drain', settle)
    response.once('close', gone)
  })
}
