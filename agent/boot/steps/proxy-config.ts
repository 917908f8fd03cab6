import { join } from 'node:path'
import type { Composed } from '../../../config/compose.js'
import type { Config } from '../../../config/model/config.js'
import {
  digestOfTexts,
  MAX_CONFIG_BYTES,
  readConfigTexts,
  WORKSPACE_CONFIG,
  type ConfigFiles,
  type ConfigTexts,
} from '../../../config/layers/config-texts.js'
import { DiscobotError } from '../../../base/errors.js'
import {
  describeConfig,
  knownOf,
  readDescription,
  type Circumstances,
} from '../../../config/compose/known-config.js'
import type { Logger } from '../../../base/log/logger.js'
import { ENGINE_PROXY_ADDRESS, LOOPBACK, type DataPaths } from '../../../config/model/paths.js'
import { RELEASE } from '../../../base/release.js'
import { readTextFile } from '../../../base/files/text-file.js'
import type { Engine } from '../../docker/engine.js'
import { BRIDGE_ADDRESS } from '../../docker/plan.js'
import { rootfulRefusals } from '../../docker/refusals.js'
import type { AgentOptions } from '../../settings/options.js'
import { secretVariables, variablesNamedIn } from '../../settings/secret-variables.js'
import type { Account } from '../../process/run-as.js'
import { ensureFile } from '../../system/atomic-file.js'
import { exposureOf } from '../../wall/exposure.js'
import { wantedEnforcement } from '../../wall/enforcement.js'
import { ownPorts } from '../../wall/own-ports.js'
import { wallOf, withheldLine } from '../../wall/wall.js'
import type { WallFindings } from '../../wall/wall-findings.js'
import { inheritedProxy, proxyVariables, toldAgain } from '../findings/inherited-proxy.js'
import type { ConfigurationFinding } from '../../status/status.js'
import type { BootFindings, ProxyEndpoints } from '../findings/findings.js'
import { stampOf } from '../findings/operator-watch.js'
import type { BootStep } from '../../status/step.js'

export interface ProxyConfigStepDeps {
  readonly options: AgentOptions
  /** The proxy's account; resolves with undefined for ourselves. */
  readonly owner: () => Promise<Account | undefined>
  /** Which engine runs: the first who asks decides, with what is against a rootful one. */
  readonly engine: EngineDecision
  readonly logger: Logger
  /**
   * Remembers what the operator's file said when it was put in force, so that a reload can tell when it was cut off,
   * and what it was when it was last read, whether or not that could be used.
   */
  readonly operatorSaid?: { text?: string; stamp?: string }
  /** Of our own code; that of the bundle we run from unless given. */
  readonly release?: string
}

/** Remembers what it said first: what runs does not change with the configuration. */
export interface EngineDecision {
  decide(refusals: readonly string[]): Engine
  /** All that it depends on besides the refusals, for comparing. */
  readonly key: unknown
}

/** A file says something that could not be used; a configuration is in force nevertheless. */
class ProxyConfigError extends DiscobotError {
  readonly code = 'PROXY_CONFIG_PROBLEMS'
}

/** After the workspace, whose own file counts. Writes the file that the proxy is started with. */
export function proxyConfigStep(deps: ProxyConfigStepDeps, findings: BootFindings): BootStep {
  return {
    name: 'proxy-config',
    needs: ['workspace', 'overlay'],
    timeoutMs: 10_000,
    onFailure: 'degrade',
    remedy: 'correct the file',
    run: async () => {
      try {
        return await writeProxyConfig(deps, findings)
      } finally {
        tellOfWall(deps, findings)
      }
    },
  }
}

/** Once, at the start: what was set up here is less than it may seem to be. */
function tellOfWall({ options, logger }: ProxyConfigStepDeps, { wall }: BootFindings): void {
  if (wall === undefined) return
  const withheld = withheldLine(wallOf(options, wall, true, undefined))
  if (withheld !== undefined) logger.warn({ level: 1 }, withheld)
}

/** @throws ProxyConfigError with the first problem; by then the file is written and `findings.proxy` is set. */
export async function writeProxyConfig(deps: ProxyConfigStepDeps, findings: BootFindings): Promise<string> {
  const { options, release = RELEASE } = deps
  const files: ConfigFiles = {
    operatorFile: options.proxyConfig,
    workspaceFile: join(options.workspace.path, WORKSPACE_CONFIG),
  }
  const texts = await readConfigTexts(files)
  if (deps.operatorSaid !== undefined) deps.operatorSaid.stamp = stampOf(texts.operator)
  const madeOf =
    release === undefined
      ? undefined
      : digestOfTexts(texts, [
          deps.engine.key,
          options.egress,
          rootfulRefusals(options),
          proxyVariables(options.inherited),
        ])
  const place = { ...options.data, owner: await deps.owner() }
  if (release === undefined || madeOf === undefined) return composeAnew(deps, files, texts, place, findings)
  const circumstances = { release, file: place.proxyConfig, dataDir: place.root }
  const present = await readTextFile(place.proxyConfig, { maxBytes: MAX_CONFIG_BYTES })
  const description = await readDescription(place.knownConfig)
  const known = present.kind === 'text' ? knownOf(present.text, description, circumstances) : undefined
  if (present.kind !== 'text' || description === undefined || known?.madeOf !== madeOf)
    return composeAnew(deps, files, texts, place, findings, { ...circumstances, madeOf })
  // Owner and mode must be right as well.
  await writeText(place, present.text)
  await writeDescription(place, description)
  const engine = deps.engine.decide(refusalsOf(options, known.config))
  tell(known.config, await findWall(deps, engine, known.config), findings)
  findings.configuration = configurationOf(deps, 'composed')
  remember(deps, texts)
  return withRemark(FORCE.composed, toldAgain(known.config, options.inherited))
}

function remember({ operatorSaid }: ProxyConfigStepDeps, { operator }: ConfigTexts): void {
  if (operatorSaid !== undefined && operator?.found.kind === 'text') operatorSaid.text = operator.found.text
}

interface Place extends DataPaths {
  /** The proxy's account; absent for ourselves. */
  readonly owner: Account | undefined
}

/** @param describe absent where nothing can be known at the next start. */
async function composeAnew(
  deps: ProxyConfigStepDeps,
  files: ConfigFiles,
  texts: ConfigTexts,
  place: Place,
  findings: BootFindings,
  describe?: Circumstances & { readonly madeOf: string },
): Promise<string> {
  const { options, logger } = deps
  const [{ composeConfig }, { firstOf, formatProblem }] = await Promise.all([
    import('../../../config/compose.js'),
    import('../../../config/yaml/problem.js'),
  ])
  const formerOperator = deps.operatorSaid?.text
  const composed = await composeConfig({ dataDir: place.root, ...files, texts, formerOperator })
  if (composed.inForce === 'composed') remember(deps, texts)
  const inherited = inheritedProxy(composed, options.inherited)
  if (inherited !== undefined) logger.info({}, inherited.told)
  const named =
    composed.inForce === 'composed' ? [] : await variablesNamedIn(options.proxyConfig, options.inherited)
  const engine = deps.engine.decide(refusalsOf(options, composed.config, named))
  const wanted = await rewritten(composed, engine, inherited?.config ?? composed.config)
  await writeText(place, wanted.yaml)
  const problems = composed.problems.map(formatProblem)
  for (const problem of problems) logger.warn({ problem }, 'proxy configuration')
  const description =
    describe === undefined || problems.length > 0
      ? undefined
      : await describeConfig(wanted.yaml, describe.madeOf, describe).catch(() => undefined)
  if (description !== undefined) await writeDescription(place, description)
  const trouble = composed.trouble ?? (problems.length === 0 ? undefined : firstOf(composed.problems))
  findings.configuration = configurationOf(deps, composed.inForce, trouble)
  tell(wanted.config, await findWall(deps, engine, wanted.config), findings, named)
  if (trouble === undefined) return withRemark(FORCE[composed.inForce], inherited?.told)
  throw new ProxyConfigError(trouble)
}

function withRemark(verdict: string, remark: string | undefined): string {
  return remark === undefined ? verdict : `${verdict}; ${remark}`
}

function configurationOf(
  { options: { proxyConfig } }: ProxyConfigStepDeps,
  inForce: Composed['inForce'],
  trouble?: string,
): ConfigurationFinding {
  return {
    inForce,
    ...(proxyConfig === undefined ? {} : { operatorFile: proxyConfig }),
    ...(trouble === undefined ? {} : { trouble }),
  }
}

/** Header values in it may be secrets of the operator's. */
async function writeText({ proxyConfig, owner }: Place, text: string): Promise<void> {
  await ensureFile(proxyConfig, text, { mode: 0o600, ...(owner === undefined ? {} : { owner }) })
}

/** Ours, and for the proxy to read only: what we believe of its configuration must not be its own word. */
async function writeDescription({ knownConfig, owner }: Place, description: string): Promise<void> {
  const readers =
    owner === undefined ? { mode: 0o600 } : { mode: 0o640, owner: { uid: OWN_UID, gid: owner.gid } }
  // Without it the next start takes longer, and that is all.
  await ensureFile(knownConfig, description, readers).catch(() => undefined)
}

/** @param named variables that may be secrets as well. */
function tell(
  config: Config,
  wall: WallFindings,
  findings: BootFindings,
  named: readonly string[] = [],
): void {
  findings.wall = wall
  findings.secretVariables = [...secretVariables(config), ...named]
  findings.proxy = endpointsOf(config)
}

/** Here because accounts and configuration are known by now, and nothing has been given to the proxy yet. */
async function findWall(
  { options }: ProxyConfigStepDeps,
  { kind }: Engine,
  config: Config,
): Promise<WallFindings> {
  const exposure = exposureOf(options, kind === 'rootful')
  const secrets = Object.entries(config.secrets)
  return {
    ...(exposure === undefined ? {} : { exposure }),
    withheld: secrets.flatMap(([name, { trust_docker: trusted }]) => (trusted === true ? [] : [name])),
    trustedVariables: secrets.flatMap(([, { env, trust_docker: trusted }]) =>
      env === undefined || trusted !== true ? [] : [env],
    ),
    ownPorts: await ownPorts(options, kind === 'rootful'),
    ...policyOf(config),
    loadsSecrets: secrets.some(([, { trust_docker: trusted }]) => exposure === undefined || trusted === true),
  }
}

type Policy = Pick<WallFindings, 'hasPolicy' | 'enforce' | 'answersNames' | 'narrows'>

/** Takes from the configuration whether and how it limits where traffic may go. */
function policyOf(config: Config): Policy {
  return {
    hasPolicy: saysWhereTo(config) || narrowsEgress(config),
    enforce: config.egress.enforce,
    answersNames: config.egress.dns === 'resolve',
    narrows: (config.policy.mode === 'enforce' && saysWhereTo(config)) || narrowsEgress(config),
  }
}

/** A packet filter is no wall to who has root's rights, so a rootful engine is refused beside it as beside secrets. */
function refusalsOf(options: AgentOptions, config: Config, named: readonly string[] = []): readonly string[] {
  const wanted = wantedEnforcement(options, { ...policyOf(config), loadsSecrets: false })
  const ofFilter = wanted.kind === 'no' ? [] : ['egress is to be enforced']
  return [...rootfulRefusals(options, config, named), ...ofFilter]
}

/** By lists and rules, which may only be observed. */
function saysWhereTo({ allowlist, blocklist, rules }: Config): boolean {
  return allowlist.enabled || [blocklist.domains, blocklist.ips, rules].some((list) => list.length > 0)
}

function narrowsEgress({ egress }: Config): boolean {
  const lists = [egress.allow, egress.block, egress.connect_ports]
  return egress.private === 'deny' || lists.some((list) => list.length > 0)
}

/** Of process 1. */
const OWN_UID = 0

const FORCE: Readonly<Record<Composed['inForce'], string>> = {
  composed: 'written',
  previous: 'the last good configuration',
  'deny-all': 'nothing may be reached',
}

/** The address at which the containers of an engine find the proxy. */
const ADDRESS_FOR: Readonly<Record<Engine['kind'], string | undefined>> = {
  rootful: BRIDGE_ADDRESS,
  rootless: ENGINE_PROXY_ADDRESS,
  none: undefined,
}

/** With what only this container knows: its own way out, and an address that appears when the engine is started. */
async function rewritten(
  composed: Composed,
  { kind }: Engine,
  config: Config,
): Promise<Pick<Composed, 'config' | 'yaml'>> {
  const { sources, parts } = composed
  // Somebody may have chosen the addresses.
  const isChosen = sources['proxy.host']?.some((origin) => origin.layer !== 'default') === true
  const address = ADDRESS_FOR[kind]
  const host = address === undefined || isChosen ? config.proxy.host : [...config.proxy.host, address]
  if (host === config.proxy.host && config === composed.config) return composed
  const { renderConfig } = await import('../../../config/compose/render.js')
  const widened = { ...config, proxy: { ...config.proxy, host } }
  return { config: widened, yaml: renderConfig(widened, parts) }
}

/** @throws ProxyConfigError when the kernel is to choose a port: nobody could be told which. */
function endpointsOf({ proxy }: Config): ProxyEndpoints {
  if (proxy.port === 0 || proxy.api_port === 0) {
    throw new ProxyConfigError(
      'cannot use port 0 under the agent: every process must be told the port; name one',
    )
  }
  const host = proxy.host.find((address) => address.startsWith('127.') || address === '::1') ?? proxy.host[0]
  return {
    host: host === undefined || host === '0.0.0.0' || host === '::' ? LOOPBACK : host,
    port: proxy.port,
    apiPort: proxy.api_port,
    hosts: proxy.host,
  }
}
