import { execa } from 'execa'
import { LOOPBACK } from '../../../config/model/paths.js'
import { MeasureError } from '../stage/errors.js'

export interface Load {
  readonly url: string
  readonly proxyPort?: number
  readonly connections: number
  readonly seconds: number
}

/**
 * Requests per second over kept-alive connections, as `hey` counts them. hey does not verify certificates, for
 * any of the peers. It gets no time-out (`-t 0`): with one, its HTTP library breaks off a connection that it is
 * still making when another one comes free, and makes the next one; a run that begins so goes on so, and measures
 * new connections instead of requests.
 *
 * @throws MeasureError when a single answer was not 200.
 */
export async function heyRate({ url, proxyPort, connections, seconds }: Load): Promise<number> {
  const proxy = proxyPort === undefined ? [] : ['-x', `http://${LOOPBACK}:${proxyPort}`]
  const { stdout, stderr } = await execa(
    'hey',
    ['-z', `${seconds}s`, '-t', '0', '-c', String(connections), '-disable-compression', ...proxy, url],
    { reject: false, extendEnv: false, env: { PATH: '/usr/bin:/bin' }, timeout: (seconds + 30) * 1000 },
  )
  const rate = /Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1]
  const statuses = [...stdout.matchAll(/^\s+\[(\d+)\]\s+(\d+) responses/gm)].map(([, status]) => status)
  if (rate === undefined || statuses.join() !== '200' || stdout.includes('Error distribution')) {
    throw new MeasureError(`cannot measure ${url}: not all answers were 200.\n${stdout.slice(-600)}${stderr}`)
  }
  return Number(rate)
}
