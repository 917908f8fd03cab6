import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { get } from 'node:http'
import { connect } from 'node:net'
import { reasonOf } from '../../../base/errors.js'
import { LOOPBACK } from '../../../config/model/paths.js'
import type { EngineStatus } from '../../docker/engine.js'
import type { AgentStatus } from '../../status/status.js'
import type { AgentOptions } from '../../settings/options.js'
import { ok, type Finding } from './finding.js'

const PROBE_MS = 2_000

/** Undefined when none answers. */
type MaybeStatus = AgentStatus | undefined

export function checkAgent(status: MaybeStatus, reason: string): Finding[] {
  const check = 'agent'
  if (status === undefined) {
    const remedy = 'start it; what only a running agent shows is left out here'
    return [{ check, state: 'unknown', what: reason, remedy }]
  }
  const degraded: Finding[] = status.degraded.map((line) => {
    const [what = line, ...remedy] = line.split('; ')
    return { check, state: 'warning', what, remedy: remedy.join('; ') || 'see discobot-agent logs agent' }
  })
  const services: Finding[] = status.services
    .filter(({ state }) => state === 'failed' || state === 'backing-off')
    .map(({ name, state, reason: why }) => ({
      check: 'services',
      state: 'problem',
      what: `${name} is ${state}${why === undefined ? '' : `: ${why}`}`,
      remedy: `see discobot-agent logs ${name}, then discobot-agent restart ${name}`,
    }))
  const promises = (status.wall?.promises ?? []).map(({ what, holds, because = '', remedy }): Finding =>
    holds
      ? ok('wall', what)
      : {
          check: 'wall',
          state: 'warning',
          what: `not promised at level ${status.wall?.level}: ${what}, since ${because}`,
          remedy: remedy ?? 'see SECURITY.md for what each level stops',
        },
  )
  return [
    ok(check, `${status.version} is ${status.phase}, pid ${status.pid}`),
    ...degraded,
    ...services,
    ...promises,
    ...(status.engine === undefined ? [] : checkEngine(status.engine)),
  ]
}

/** An engine that is missing or limited is among what is degraded. */
function checkEngine({ kind, why, notStopped }: EngineStatus): Finding[] {
  const check = 'docker'
  const open = notStopped.map((what): Finding => ({
    check,
    state: 'warning',
    what: `not stopped by a ${kind} engine: ${what}`,
    remedy: kind === 'rootful' ? 'set DISCOBOT_DOCKER to rootless or off' : 'see docs/docker.md',
  }))
  return [ok(check, `${kind}, since ${why}`), ...open]
}

interface Port {
  readonly port: number
  /** Of ours that listens there. */
  readonly service: string
  /** What names another one. */
  readonly setting: string
}

/** A port is taken when it answers while the service that it is for does not run. */
export async function checkPort({ port, service, setting }: Port, status: MaybeStatus): Promise<Finding> {
  const check = `port ${port}`
  const runs = status?.services.some(({ name, state }) => name === service && state === 'ready') === true
  const answers = await accepts(port)
  if (answers && !runs)
    return {
      check,
      state: 'problem',
      what: `taken by something that is not ${service}`,
      remedy: `stop that, or set ${setting}`,
    }
  if (runs && !answers)
    return {
      check,
      state: 'problem',
      what: `${service} is ready, and nothing accepts there`,
      remedy: `discobot-agent restart ${service}`,
    }
  return ok(check, runs ? service : 'free')
}

/** Asked as every program in the container would. */
export async function checkProxy(
  { proxy }: AgentOptions,
  apiPort: number,
  status: MaybeStatus,
): Promise<Finding> {
  const check = 'proxy'
  if (proxy === 'off') return ok(check, 'DISCOBOT_PROXY is "off"')
  if (status === undefined) return ok(check, 'not asked: there is no agent')
  try {
    const code = await statusOf(`http://${LOOPBACK}:${apiPort}/health`)
    if (code === 200) return ok(check, 'answers')
    return {
      check,
      state: 'problem',
      what: `/health answers ${code}`,
      remedy: 'see discobot-agent logs proxy',
    }
  } catch (error) {
    const remedy = 'discobot-agent restart proxy, and see discobot-agent logs proxy'
    return { check, state: 'problem', what: `does not answer: ${reasonOf(error)}`, remedy }
  }
}

/**
 * Whether programs that read the system's bundle trust the proxy.
 *
 * @param anchors where the CA is put for the system's tools, each with the bundle they make.
 */
export function checkTrust(
  { mode, proxy }: AgentOptions,
  anchors: readonly { readonly anchor: string; readonly bundle: string }[],
): Finding {
  const check = 'CA'
  if (mode === 'plain') return ok(check, "the machine's trust store is left alone outside a container")
  if (proxy === 'off') return ok(check, 'there is no proxy to be trusted')
  const remedy = 'run update-ca-certificates or update-ca-trust, or start the container again'
  for (const { anchor, bundle } of anchors) {
    const ours = fingerprints(anchor)[0]
    if (ours === undefined) continue
    if (fingerprints(bundle).includes(ours)) return ok(check, `in ${bundle}`)
    return { check, state: 'problem', what: `${bundle} does not have it`, remedy }
  }
  return { check, state: 'problem', what: "it is not among the administrator's certificates", remedy }
}

function fingerprints(path: string): string[] {
  try {
    const blocks = readFileSync(path, 'latin1').match(PEM) ?? []
    return blocks.flatMap((pem) => {
      try {
        return [new X509Certificate(pem).fingerprint256]
      } catch {
        // Of a certificate that Node cannot read we only know that it is not ours.
        return []
      }
    })
  } catch {
    return []
  }
}

const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: LOOPBACK, port, timeout: PROBE_MS })
    const finish = (answer: boolean): void => {
      socket.destroy()
      resolve(answer)
    }
    socket.once('connect', () => finish(true))
    socket.once('timeout', () => finish(false))
    socket.once('error', () => finish(false))
  })
}

function statusOf(url: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const asked = get(url, { agent: false, signal: AbortSignal.timeout(PROBE_MS) }, (response) => {
      response.on('error', () => undefined).resume()
      resolve(response.statusCode ?? 0)
    })
    asked.once('error', reject)
  })
}
