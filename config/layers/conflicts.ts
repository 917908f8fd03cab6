import type { Config } from '../model/config.js'
import type { Origin } from './layer.js'
import { isWithin } from '../model/paths.js'
import type { Problem } from '../yaml/problem.js'
import { quoteOption } from '../yaml/yaml-document.js'

/** What is contradictory only once all files and the default are put together. */
export function findConflicts(
  { proxy, tls, cache }: Config,
  originOf: (option: string) => Origin | undefined,
): readonly Problem[] {
  const problems: Problem[] = []
  const blame = (options: readonly [string, string], reason: string): void => {
    // Whoever wrote something is to blame rather than the default that it does not fit.
    const option = options.find((name) => originOf(name)?.layer !== 'default') ?? options[0]
    const origin = originOf(option)
    if (origin === undefined) return
    const message = `option ${quoteOption([option])}: ${reason}`
    problems.push({
      kind: 'invalid',
      file: origin.file,
      mark: { line: origin.line, col: origin.col },
      message,
    })
  }
  if (proxy.port === proxy.api_port && proxy.port !== 0) {
    blame(['proxy.api_port', 'proxy.port'], `proxy.port and proxy.api_port are both ${proxy.port}`)
  }
  if (isWithin(cache.dir, tls.cert_dir) || isWithin(tls.cert_dir, cache.dir)) {
    // The cache removes what it does not know from its folder.
    blame(['cache.dir', 'tls.cert_dir'], 'cache.dir and tls.cert_dir must be folders apart from each other')
  }
  if (cache.offline && !cache.enabled) {
    blame(['cache.offline', 'cache.enabled'], 'cache.offline serves what is stored, and the cache is off')
  }
  return problems
}
