import { proxyAccess, type BootFindings } from '../boot/findings/findings.js'
import type { StepStatus } from '../status/step.js'
import { renderTimeline } from '../status/timeline.js'
import type { AgentOptions } from '../settings/options.js'
import { LOOPBACK } from '../../config/model/paths.js'

export interface WelcomeOptions {
  readonly options: AgentOptions
  readonly findings: BootFindings
  readonly steps: readonly StepStatus[]
  readonly tookMs: number
  /** Only for a terminal. */
  readonly colour: boolean
  readonly columns: number
  /** Without it the lines of the log have told of each step already. */
  readonly timeline: boolean
  /** How this program is called, for the lines that can be copied. */
  readonly self: string
}

/** What a person reads when everything is up: how long it took and what to try next. */
export function renderWelcome(welcome: WelcomeOptions): string {
  const { options, findings, steps, tookMs, colour, columns, timeline, self } = welcome
  const bold = (text: string): string => (colour ? `\u001b[1m${text}\u001b[0m` : text)
  const degraded = steps.filter((step) => step.state === 'degraded').length + options.problems.length
  const state =
    degraded === 0 ? 'is up' : `is up, with ${degraded} ${degraded === 1 ? 'thing' : 'things'} missing (!)`
  return [
    '',
    bold(`Discobot ${state} after ${tookMs} ms`),
    ...(timeline ? [renderTimeline(steps, { colour, columns, totalMs: tookMs })] : []),
    '',
    bold('Try next'),
    ...suggestions(options, findings, self).map((line) => `  ${line}`),
    '',
    '',
  ].join('\n')
}

/** What to try, as lines that can be copied. */
export function suggestions(options: AgentOptions, findings: BootFindings, self: string): string[] {
  const access = proxyAccess(findings)
  const { proxy } = findings
  const api = `curl http://${LOOPBACK}:${options.agentPort}/api/status`
  const lines = [`${self} status`, ...(options.agentCommand === undefined ? [api] : [])]
  if (access === undefined || proxy === undefined) return lines
  return [
    `curl -x http://${access.host}:${access.port} --cacert ${access.caFile} https://example.com/`,
    `curl http://${LOOPBACK}:${proxy.apiPort}/api/cache/stats`,
    ...lines,
  ]
}
