import { compilePatternCover } from '../../base/net/host-pattern-index.js'
import { nearestName } from '../../base/nearest-name.js'
import type { Complaint } from '../yaml/problem.js'
import type { FileValues } from '../schema/file.js'
import { parseTemplate, referencedSecrets } from '../model/secret-template.js'
import { parseUpstreamProxyUrl } from '../model/upstream-proxy-url.js'
import { quoteOption, type KeyPath, type YamlDocument } from '../yaml/yaml-document.js'

type Secrets = NonNullable<FileValues['secrets']>

/** What an operator's file says of secrets that cannot be meant, or that would let one go where it may not. */
export function secretComplaints(values: FileValues, document: YamlDocument): readonly Complaint[] {
  const secrets = values.secrets ?? {}
  return [
    ...sourceComplaints(secrets, document),
    ...referenceComplaints(values, secrets, document),
    ...authComplaints(values, secrets, document),
    ...upstreamProxyComplaints(values, secrets, document),
    ...uselessComplaints(values, secrets, document),
  ]
}

function sourceComplaints(secrets: Secrets, document: YamlDocument): Complaint[] {
  const first = new Map<string, string>()
  return Object.entries(secrets).flatMap(([name, secret]) => {
    const path = ['secrets', name]
    const complaints: Complaint[] = []
    const complain = (key: string, reason: string): void => {
      const message = `option ${quoteOption([...path, key])}: ${reason}`
      complaints.push({ mark: document.keyMark([...path, key]), message })
    }
    if (secret.env !== undefined && secret.file !== undefined) {
      complain('file', 'the secret has an "env" too; keep one')
    }
    const { placeholder } = secret
    if (placeholder === undefined) {
      if (secret.placeholder_headers !== undefined)
        complain('placeholder_headers', 'the secret has no "placeholder"')
      return complaints
    }
    const other = first.get(placeholder)
    if (other === undefined) first.set(placeholder, name)
    else complain('placeholder', `secret ${other} has the same; which one is meant would not be known`)
    return complaints
  })
}

function referenceComplaints(values: FileValues, secrets: Secrets, document: YamlDocument): Complaint[] {
  const mayGo = new Map(
    Object.entries(secrets).map(([name, { hosts }]) => [name, compilePatternCover(hosts)] as const),
  )
  return Object.entries(values.headers ?? {}).flatMap(([pattern, rule]) =>
    (['set', 'append'] as const).flatMap((action) =>
      Object.entries(rule[action] ?? {}).flatMap(([header, value]) => {
        const path: KeyPath = ['headers', pattern, action, header]
        return reasonsAgainst(value, pattern, secrets, mayGo).map((reason) => ({
          mark: document.valueMark(path),
          message: `option ${quoteOption(path)}: ${reason}`,
        }))
      }),
    ),
  )
}

/** What clients must show is only compared, so that it need not be bound to any host. */
function authComplaints(values: FileValues, secrets: Secrets, document: YamlDocument): Complaint[] {
  const { user = '', password = '' } = values.proxy?.auth ?? {}
  return Object.entries({ user, password }).flatMap(([key, value]) => {
    const path: KeyPath = ['proxy', 'auth', key]
    return referencedSecrets(value).flatMap((name) => {
      if (Object.hasOwn(secrets, name)) return []
      const message = `option ${quoteOption(path)}: ${unknownSecret(name, secrets)}`
      return [{ mark: document.valueMark(path), message }]
    })
  })
}

function upstreamProxyComplaints(values: FileValues, secrets: Secrets, document: YamlDocument): Complaint[] {
  const url = parseUpstreamProxyUrl(values.upstream_proxy?.url ?? '')
  if (typeof url === 'string' || url.credentials === undefined) return []
  const path: KeyPath = ['upstream_proxy', 'url']
  const { user, password } = url.credentials
  return [user, password].flatMap(referencedSecrets).flatMap((name) => {
    const secret = Object.hasOwn(secrets, name) ? secrets[name] : undefined
    const reason =
      secret === undefined
        ? unknownSecret(name, secrets)
        : compilePatternCover(secret.hosts)(url.host)
          ? undefined
          : `secret "${name}" may not go to ${url.host}; add it to secrets.${name}.hosts`
    if (reason === undefined) return []
    return [{ mark: document.valueMark(path), message: `option ${quoteOption(path)}: ${reason}` }]
  })
}

/** One that may go nowhere is of use only where clients must show it. */
function uselessComplaints(values: FileValues, secrets: Secrets, document: YamlDocument): Complaint[] {
  const { user = '', password = '' } = values.proxy?.auth ?? {}
  const shown = [user, password].flatMap(referencedSecrets)
  return Object.entries(secrets).flatMap(([name, { hosts }]) => {
    if (hosts.length > 0 || shown.includes(name)) return []
    const path = ['secrets', name, 'hosts']
    const message = `option ${quoteOption(path)}: the value is empty; name the hosts it may go to`
    return [{ mark: document.valueMark(path), message }]
  })
}

function unknownSecret(name: string, secrets: Secrets): string {
  const nearest = nearestName(name, Object.keys(secrets))
  const hint = nearest === undefined ? 'define it under "secrets"' : `did you mean "${nearest}"?`
  return `there is no secret "${name}"; ${hint}`
}

/** @param mayGo name of a secret → whether it may go to a host, or to all hosts of a pattern. */
function reasonsAgainst(
  value: string,
  pattern: string,
  secrets: Secrets,
  mayGo: ReadonlyMap<string, (pattern: string) => boolean>,
): string[] {
  const parts = parseTemplate(value)
  if (typeof parts === 'string') return [`the value ${parts}`]
  const names = new Set(parts.flatMap((part) => (part.kind === 'secret' ? [part.name] : [])))
  return [...names].flatMap((name) => {
    const isCovered = mayGo.get(name)
    if (isCovered === undefined) return [unknownSecret(name, secrets)]
    if (isCovered(pattern)) return []
    return [
      `the rule reaches hosts to which secret "${name}" may not go; narrow the rule, or widen secrets.${name}.hosts`,
    ]
  })
}
