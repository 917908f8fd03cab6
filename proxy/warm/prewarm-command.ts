import { createInterface } from 'node:readline'
import { readCommandLine } from '../../config/command-line.js'
import { PROXY_API_PORT } from '../../config/paths.js'
import type { ApiAccess } from './api-access.js'
import { askApi, readJson } from './api-client.js'
import { WarmApiError, WarmUsageError } from './command-errors.js'
import type { JobReport } from './prewarm-job.js'
import { Progress, summary, type Screen } from './progress.js'

export const PREWARM_USAGE = `Usage: discobot-proxy prewarm IMAGE|URL… [--platform OS/ARCH] [--api-port PORT] [--json]

Has the running proxy fetch images (their manifests, configuration and layers) and URLs, so that its cache has
them when they are asked for. Names are those of docker pull; an https:// in front makes it a URL.

      --platform P    of a multi-platform image, such as linux/arm64; this machine's unless given
      --api-port N    of the proxy's API (17081)
      --json          a line of JSON for each report, for machines

A proxy that wants a name and a password (proxy.auth) takes them from HTTP_PROXY, or the token of
<data>/proxy/api-token from those who can read it.

Exit code: 0 all is there, 1 something is not, 2 wrong usage, 130 interrupted.
`

/**
 * `prewarm IMAGE|URL…`; resolves with the exit code.
 *
 * @param args after the word `prewarm`
 * @param onInterrupt is given what to do when the person has had enough.
 * @param access for a proxy that asks (`proxy.auth`).
 * @throws WarmUsageError, WarmApiError, or CommandLineError.
 */
export async function prewarmCommand(
  args: readonly string[],
  screen: Screen,
  onInterrupt: (interrupt: () => void) => void,
  access: ApiAccess = {},
): Promise<number> {
  const { values, positionals } = readCommandLine(args, {
    platform: { type: 'string' },
    'api-port': { type: 'string' },
    json: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  })
  if (values.help === true) {
    screen.write(PREWARM_USAGE)
    return 0
  }
  if (positionals.length === 0) throw new WarmUsageError('cannot warm nothing: name an image or a URL')
  const port = apiPort(values['api-port'])
  const { platform } = values
  const body = { references: positionals, ...(platform === undefined ? {} : { platform }) }
  const started = (await readJson(
    await askApi(port, { ...access, method: 'POST', path: '/api/cache/prewarm', body }),
  )) as JobReport
  const path = `/api/cache/prewarm?id=${started.id}`
  let interrupted = false
  onInterrupt(() => {
    interrupted = true
    // The reports go on until the job has ended.
    askApi(port, { ...access, method: 'DELETE', path }).then(
      (answer) => answer.resume(),
      () => undefined,
    )
  })

  const progress = new Progress(screen, () => performance.now())
  let last = started
  const lines = createInterface({ input: await askApi(port, { method: 'GET', path: `${path}&follow=true` }) })
  for await (const line of lines) {
    last = JSON.parse(line) as JobReport
    if (values.json === true) screen.write(`${line}\n`)
    else progress.show(last)
  }
  if (last.state === 'running') throw new WarmApiError('cannot follow the job: the proxy has stopped')
  if (values.json !== true) screen.write(`${summary(last)}\n`)
  if (interrupted) return 130
  return last.state === 'done' ? 0 : 1
}

/** @throws WarmUsageError */
export function apiPort(text: string | undefined): number {
  if (text === undefined) return PROXY_API_PORT
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0
  if (port < 1 || port > 65_535)
    throw new WarmUsageError(`cannot use ${JSON.stringify(text)} as a port: write 1 to 65535`)
  return port
}
