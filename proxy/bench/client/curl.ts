import { execa } from 'execa'
import { LOOPBACK } from '../../../config/model/paths.js'
import { MeasureError } from '../stage/errors.js'

const TRANSFER_LIMIT_S = 60

export interface Transfer {
  readonly url: string
  readonly caFile: string
  readonly proxyPort?: number
  /** Bytes the body must have. */
  readonly size: number
}

/**
 * Fetches once with curl and throws the body away. Resolves with the seconds from the request's last byte to the
 * body's: connecting, CONNECT and both handshakes are not part of a transfer rate.
 *
 * @throws MeasureError when it was not the whole body with status 200.
 */
export async function curlSeconds({ url, caFile, proxyPort, size }: Transfer): Promise<number> {
  const proxy = proxyPort === undefined ? [] : ['--proxy', `http://${LOOPBACK}:${proxyPort}`]
  const { stdout, stderr } = await execa(
    'curl',
    [
      '-q',
      '-sS',
      '--http1.1',
      '-m',
      String(TRANSFER_LIMIT_S),
      '-o',
      '/dev/null',
      '--cacert',
      caFile,
      ...proxy,
    ]
      .concat(['-w', '%{http_code} %{size_download} %{time_pretransfer} %{time_total}'])
      .concat(url),
    // Proxy variables of whoever runs this are not part of it.
    { reject: false, extendEnv: false, env: { PATH: '/usr/bin:/bin' } },
  )
  const [status, bytes, before = 0, total = 0] = stdout.split(' ').map(Number)
  if (status !== 200 || bytes !== size) {
    throw new MeasureError(
      `cannot measure ${url}: status ${status}, ${bytes} of ${size} bytes. ${stderr}`.trim(),
    )
  }
  return total - before
}
