import { readFileSync } from 'node:fs'
import { COLOURS, paint } from '../../../base/cli/terminal.js'
import { behind } from '../../../base/cli/text-width.js'
import { reasonOf } from '../../../base/errors.js'
import { formatProblem } from '../../../config/yaml/problem.js'
import { TRUST_ANCHORS } from '../../boot/steps/trust.js'
import { fetchStatus } from '../../control/client.js'
import { inspectConfiguration } from '../commands/config-inspection.js'
import type { CommandDeps } from '../commands/commands.js'
import { printable } from '../../status/printable.js'
import type { AgentStatus } from '../../status/status.js'
import { loadNativeCalls } from '../../process/native.js'
import type { AgentOptions } from '../../settings/options.js'
import { checkAgent, checkPort, checkProxy, checkTrust } from './agent.js'
import type { Finding } from './finding.js'
import {
  checkCapabilities,
  checkCgroups,
  checkDisk,
  checkReaping,
  checkStopTimeout,
  checkTools,
} from './machine.js'

/** Looks at all that is known to go wrong and says what to do about it. 1 when something does not work. */
export async function showDoctor(deps: CommandDeps, options: AgentOptions, uid: number): Promise<number> {
  const findings = await examine(deps.socketPath, options, uid)
  await deps.print(deps.json ? `${JSON.stringify(findings, undefined, 2)}\n` : renderFindings(findings, deps))
  return findings.some(({ state }) => state === 'problem') ? 1 : 0
}

async function examine(socketPath: string, options: AgentOptions, uid: number): Promise<Finding[]> {
  let status: AgentStatus | undefined
  let reason = ''
  try {
    status = await fetchStatus(socketPath)
  } catch (error) {
    reason = reasonOf(error)
  }
  const running = status?.configuration
  const { config, problems } = await inspectConfiguration(options, running)
  const { port = config.proxy.port, apiPort = config.proxy.api_port } = running ?? {}
  const proxyPorts =
    options.proxy === 'off'
      ? []
      : [
          { port, service: 'proxy', setting: 'proxy.port in the file of DISCOBOT_PROXY_CONFIG' },
          { port: apiPort, service: 'proxy', setting: 'proxy.api_port in the file of DISCOBOT_PROXY_CONFIG' },
        ]
  const agentPort = { port: options.agentPort, service: 'agent-api', setting: 'DISCOBOT_AGENT_PORT' }
  const ports = [...proxyPorts, ...(listens(options) ? [agentPort] : [])]
  return [
    ...checkAgent(status, reason),
    // A running agent has told of them already.
    ...(status === undefined ? options.problems : []).map(settingFinding),
    ...problems.map((problem): Finding => ({
      check: 'configuration',
      state: 'warning',
      what: formatProblem(problem),
      remedy:
        "mend the file; a container that runs takes an operator's file up when it is saved, and a workspace's at discobot-agent reload",
    })),
    ...(await Promise.all(ports.map((one) => checkPort(one, status)))),
    await checkProxy(options, apiPort, status),
    checkTrust(options, TRUST_ANCHORS),
    checkCapabilities(options, statusOfProcessOne()),
    checkCgroups(options, uid),
    checkTools(options),
    checkReaping(await loadNativeCalls()),
    checkDisk(options),
    checkStopTimeout(options),
  ]
}

/** A command of the operator's need not, unless its port is named. */
function listens({ agentCommand, agentPortNamed }: AgentOptions): boolean {
  return agentCommand === undefined || agentPortNamed
}

function settingFinding(problem: string): Finding {
  const [what = problem, ...rest] = problem.split('; ')
  return { check: 'settings', state: 'warning', what, remedy: rest.join('; ') || 'see docs/environment.md' }
}

function statusOfProcessOne(): string {
  try {
    return readFileSync('/proc/1/status', 'utf8')
  } catch {
    return ''
  }
}

/** Mark and its colour. */
const LOOKS: Readonly<Record<Finding['state'], readonly [string, number]>> = {
  ok: ['✓', COLOURS.green],
  warning: ['!', COLOURS.yellow],
  problem: ['✗', COLOURS.red],
  unknown: ['?', COLOURS.grey],
}

export function renderFindings(
  findings: readonly Finding[],
  { colour, columns }: Pick<CommandDeps, 'colour' | 'columns'>,
): string {
  const width = Math.max(...findings.map(({ check }) => check.length))
  const lines = findings.flatMap(({ check, state, what, remedy }) => {
    const [mark, sgr] = LOOKS[state]
    const found = behind(`  ${check.padEnd(width)}  `, printable(what), columns)
    const todo = remedy === undefined ? [] : behind(`  ${' '.repeat(width)}  → `, printable(remedy), columns)
    return [...found.map((line, at) => (at === 0 ? paint(mark, sgr, colour) + line.slice(1) : line)), ...todo]
  })
  return lines.map((line) => `${line}\n`).join('')
}
