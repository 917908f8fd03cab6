import { createHash } from 'node:crypto'
import { request as httpRequest } from 'node:http'
import suites from 'http-cache-tests/tests/index.mjs'
import { getResults, runTests, type Fetched, type FetchInit } from 'http-cache-tests/client/runner.mjs'

// The client of http-cache-tests, in a process of its own because it keeps its results in its modules:
// node http-cache-tests-child.js PROXY-PORT ORIGIN-URL TESTS-AT-ONCE

const [, , proxyPort = '', originUrl = '', atOnce = ''] = process.argv

/**
 * Each test asks an address of its own, all of which are this machine's: to the proxy it is a host of its own, so
 * that one which fails in one test is not taken for down in another.
 */
function hostOf(url: URL): string {
  const [, , test = ''] = url.pathname.split('/')
  const digest = createHash('sha256').update(test).digest()
  return `127.${digest[0]}.${digest[1]}.${((digest[2] ?? 0) % 250) + 1}:${url.port}`
}

/** Does not follow redirects: the tests ask for them themselves. */
function fetchThroughProxy(
  url: string,
  { method = 'GET', headers = [], body }: FetchInit = {},
): Promise<Fetched> {
  return new Promise((resolve, reject) => {
    const length = body === undefined ? [] : ['Content-Length', String(Buffer.byteLength(body))]
    const asked = new URL(url)
    asked.host = hostOf(asked)
    const own = ['Host', asked.host, 'Accept', '*/*', ...length]
    const outgoing = httpRequest({
      host: '127.0.0.1',
      port: Number(proxyPort),
      method,
      path: asked.href,
      headers: [...own, ...headers.flatMap(([name, value]) => [name, String(value)])],
    })
    outgoing.on('error', reject)
    outgoing.once('response', (message) => {
      const chunks: Buffer[] = []
      message.on('data', (chunk: Buffer) => chunks.push(chunk))
      message.on('error', reject)
      message.once('end', () => {
        const { rawHeaders } = message
        const received = new Headers()
        for (let at = 0; at + 1 < rawHeaders.length; at += 2)
          received.append(rawHeaders[at] ?? '', rawHeaders[at + 1] ?? '')
        if (received.get('x-cache') === 'HIT') noteHit(headers)
        resolve({
          status: message.statusCode ?? 0,
          statusText: message.statusMessage ?? '',
          headers: received,
          text: () => Promise.resolve(Buffer.concat(chunks).toString()),
        })
      })
    })
    outgoing.end(body)
  })
}

/** Test → its requests that were answered from the store, whether or not upstream had been asked first. */
const hits: Record<string, number[]> = {}

function noteHit(headers: NonNullable<FetchInit['headers']>): void {
  const value = (wanted: string): string => String(headers.find(([name]) => name === wanted)?.[1])
  ;(hits[value('Test-ID')] ??= []).push(Number(value('Req-Num')))
}

await runTests(suites, fetchThroughProxy, false, originUrl, Number(atOnce))
process.send?.({ results: getResults(), hits })
process.disconnect()
