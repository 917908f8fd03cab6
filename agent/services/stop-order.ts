import type { ServiceSpec } from './spec.js'

/**
 * `reverse`: what needs a service stops before it, by `after`. Or the levels themselves, the first to be
 * stopped first; services that no level names stop before all of them.
 */
export type StopOrder = 'reverse' | readonly (readonly string[])[]

/** Names of services, level by level: a level is stopped side by side, and wholly before the next one. */
export function stopLevels(specs: readonly ServiceSpec[], order: StopOrder): string[][] {
  if (order === 'reverse') return reverseLevels(specs)
  const known = new Set(specs.map((spec) => spec.name))
  const named = new Set(order.flat())
  const unnamed = reverseLevels(specs.filter((spec) => !named.has(spec.name)))
  const wanted = order.map((level) => level.filter((name) => known.has(name)))
  return [...unnamed, ...wanted].filter((level) => level.length > 0)
}

/** Level 0 needs nothing; a service is one above the highest it needs. Specs come in an order without cycles. */
function reverseLevels(specs: readonly ServiceSpec[]): string[][] {
  const height = new Map<string, number>()
  const levels: string[][] = []
  for (const { name, after } of specs) {
    const level = Math.max(0, ...after.map((needed) => (height.get(needed) ?? -1) + 1))
    height.set(name, level)
    ;(levels[level] ??= []).push(name)
  }
  return levels.reverse()
}
