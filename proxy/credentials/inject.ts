import type { HeaderRule } from '../../config/model/config.js'
import { compileHostPatterns, type HostMatcher } from '../../base/net/host-pattern.js'
import { parseTemplate, type TemplatePart } from '../../config/model/secret-template.js'
import { headerValue, without, type RawHeaders } from '../message/headers.js'
import type { RequestTarget } from '../message/request-target.js'
import type { Secrets } from './secrets.js'

/** What was not done for a request, and why. */
interface Withheld {
  readonly host: string
  readonly reason: string
  /** The host pattern of a rule; absent where a placeholder was left as it is. */
  readonly rule?: string
}

/**
 * Why a request gets nothing added that may be a credential; undefined where it does.
 *
 * @param insecure what the rule says of it; absent for placeholders, of which none does.
 */
export function whyWithheld(
  method: string | undefined,
  scheme: RequestTarget['scheme'],
  insecure?: boolean,
): string | undefined {
  // RFC 9110, 9.3.8: the client would read there what we added.
  if (method === 'TRACE') return 'the answer to TRACE repeats the request'
  if (scheme === 'https' || insecure === true) return undefined
  return insecure === undefined ? 'plain http' : 'plain http, and the rule does not say insecure: true'
}

/** Of how many hosts it is remembered that something was withheld: each is told once. */
const MAX_TOLD = 1000

/** Adds the operator's headers to requests on their way out. */
export class Injector {
  readonly #rules: HostMatcher<Rule>
  readonly #secrets: Secrets
  readonly #onWithheld: (withheld: Withheld) => void
  readonly #told = new Set<string>()

  /** @param onWithheld called once for a host, rule and reason. */
  constructor(
    rules: Readonly<Record<string, HeaderRule>>,
    secrets: Secrets,
    onWithheld: (withheld: Withheld) => void,
  ) {
    this.#rules = compileHostPatterns(
      Object.entries(rules).map(([pattern, rule]) => [pattern, compileRule(rule)] as const),
    )
    this.#secrets = secrets
    this.#onWithheld = onWithheld
  }

  /**
   * The headers to send to `to`: those of the client, its placeholders swapped for secrets, and the rule of the
   * most specific pattern that matches the host applied if all the rule's conditions hold, unless
   * {@link whyWithheld} speaks against it.
   *
   * @param judged the client's own, where not all of them are sent.
   */
  apply(
    { target, scheme }: RequestTarget,
    method: string | undefined,
    headers: RawHeaders,
    judged: RawHeaders = headers,
  ): RawHeaders {
    const { host } = target
    let result = headers
    const unswapped = whyWithheld(method, scheme)
    if (unswapped === undefined) result = this.#secrets.swapPlaceholders(host, headers)
    else if (this.#secrets.findsPlaceholder(host, headers)) this.#tell({ host, reason: unswapped })
    const match = this.#rules.best(host)
    if (match === undefined || !holds(match.value, judged)) return result
    const rule = match.value
    const reason = whyWithheld(method, scheme, rule.insecure)
    if (reason !== undefined) {
      this.#tell({ host, rule: match.pattern, reason })
      return result
    }
    for (const { name, parts } of rule.set) result = replaced(result, name, this.#fill(parts, host))
    for (const { name, parts } of rule.append) {
      const present = headerValue(result, name.toLowerCase())
      const value = this.#fill(parts, host)
      result = replaced(result, name, present === undefined ? value : `${present}, ${value}`)
    }
    return result
  }

  /** Made anew for each request, so that no string with a secret in it outlives the request. */
  #fill(parts: readonly TemplatePart[], host: string): string {
    return parts
      .map((part) => (part.kind === 'text' ? part.text : this.#secrets.reveal(part.name, host)))
      .join('')
  }

  #tell(withheld: Withheld): void {
    const key = JSON.stringify(withheld)
    if (this.#told.has(key) || this.#told.size >= MAX_TOLD) return
    this.#told.add(key)
    this.#onWithheld(withheld)
  }
}

interface Field {
  readonly name: string
  readonly parts: readonly TemplatePart[]
}

interface Rule extends Pick<HeaderRule, 'conditions' | 'insecure'> {
  readonly set: readonly Field[]
  readonly append: readonly Field[]
}

function compileRule({ set, append, conditions, insecure }: HeaderRule): Rule {
  return { set: fields(set), append: fields(append), conditions, insecure }
}

/** @throws TypeError for what the loader would have refused. */
function fields(values: Readonly<Record<string, string>>): Field[] {
  return Object.entries(values).map(([name, value]) => {
    const parts = parseTemplate(value)
    if (typeof parts === 'string') throw new TypeError(`cannot use the rule for ${name}: its value ${parts}`)
    return { name, parts }
  })
}

function holds(rule: Rule, headers: RawHeaders): boolean {
  return rule.conditions.every(
    (condition) => headerValue(headers, condition.header.toLowerCase()) === condition.equals,
  )
}

function replaced(headers: RawHeaders, name: string, value: string): RawHeaders {
  const lower = name.toLowerCase()
  return [...without(headers, (other) => other === lower), name, value]
}
