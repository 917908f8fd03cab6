import type { HeaderRule } from '../config/config.js'
import { compileHostPatterns, type HostMatcher } from '../config/host-pattern.js'
import { headerValue, without, type RawHeaders } from './headers.js'
import type { Target } from './target.js'

/** Adds the operator's headers to requests on their way out. */
export class Injector {
  readonly #rules: HostMatcher<HeaderRule>

  constructor(rules: Readonly<Record<string, HeaderRule>>) {
    this.#rules = compileHostPatterns(Object.entries(rules))
  }

  /**
   * The headers to send to `target`: those of the client, with the rule of the most specific pattern that
   * matches its host applied if all the rule's conditions hold.
   */
  apply(target: Target, headers: RawHeaders): RawHeaders {
    const rule = this.#rules.best(target.host)?.value
    if (rule === undefined || !holds(rule, headers)) return headers
    let result: RawHeaders = headers
    for (const [name, value] of Object.entries(rule.set)) result = replaced(result, name, value)
    for (const [name, value] of Object.entries(rule.append)) {
      const present = headerValue(result, name.toLowerCase())
      result = replaced(result, name, present === undefined ? value : `${present}, ${value}`)
    }
    return result
  }
}

function holds(rule: HeaderRule, headers: RawHeaders): boolean {
  return rule.conditions.every(
    (condition) => headerValue(headers, condition.header.toLowerCase()) === condition.equals,
  )
}

function replaced(headers: RawHeaders, name: string, value: string): RawHeaders {
  const lower = name.toLowerCase()
  return [...without(headers, (other) => other === lower), name, value]
}
