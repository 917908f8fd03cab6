import { createHash } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import type { ApartSection, CacheRule, Config } from '../model/config.js'

/** Enough of a digest that no workspace finds one with another's. */
const MARK_LENGTH = 32

/**
 * What is kept by rules that a workspace made or changed, or asked for with headers that it adds, is its own: kept
 * under the key of a shared rule, its choice would be every other session's from then on.
 *
 * @param inForce without the workspace's file.
 * @param together with it.
 */
export function workspaceApart(inForce: Config, together: Config): ApartSection {
  const before = rulesOf(inForce.cache)
  const rules = [...rulesOf(together.cache)].filter(
    ([name, rule]) => !isDeepStrictEqual(rule, before.get(name)),
  )
  const headers = Object.entries(together.headers).filter(
    ([pattern, rule]) => !isDeepStrictEqual(rule, inForce.headers[pattern]),
  )
  const { apart } = inForce.cache
  if (rules.length === 0 && headers.length === 0) return apart
  const mark = createHash('sha256')
    .update(JSON.stringify([rules, headers]))
    .digest('hex')
  return {
    by: mark.slice(0, MARK_LENGTH),
    rules: [...new Set([...apart.rules, ...rules.map(([name]) => name)])],
    hosts: [...new Set([...apart.hosts, ...headers.map(([pattern]) => pattern)])],
  }
}

/** Name → all that decides what is kept by the rule, and for how long. */
function rulesOf({ rules, patterns, ttl }: Config['cache']): ReadonlyMap<string, unknown> {
  const complete = (rule: CacheRule): CacheRule => ({ ttl, ...rule })
  return new Map<string, unknown>([
    ['patterns', { patterns, ttl }],
    ...rules.map((rule) => [rule.name, complete(rule)] as const),
  ])
}
