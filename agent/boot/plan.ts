import { BootGraphError } from './errors.js'
import type { BootStep } from './step.js'

type Node = Pick<BootStep, 'name' | 'needs'>

/**
 * @throws BootGraphError on a name given twice, a need that is no step, or steps that wait for each other.
 */
export function checkGraph(steps: readonly Node[]): void {
  const byName = new Map<string, Node>()
  for (const step of steps) {
    if (byName.has(step.name))
      throw new BootGraphError(`there are two steps called ${JSON.stringify(step.name)}`)
    byName.set(step.name, step)
  }
  for (const { name, needs } of steps) {
    const unknown = needs.find((need) => !byName.has(need))
    if (unknown !== undefined)
      throw new BootGraphError(`${name} needs ${JSON.stringify(unknown)}, which is no step`)
  }
  const checked = new Set<string>()
  for (const step of steps) checkCycle(step, [], byName, checked)
}

/** @param path the names that lead to `step`. */
function checkCycle(
  step: Node,
  path: readonly string[],
  byName: ReadonlyMap<string, Node>,
  checked: Set<string>,
): void {
  const seen = path.indexOf(step.name)
  if (seen >= 0) {
    throw new BootGraphError(
      `these steps wait for each other: ${[...path.slice(seen), step.name].join(' → ')}`,
    )
  }
  if (checked.has(step.name)) return
  for (const need of step.needs) {
    const needed = byName.get(need)
    if (needed !== undefined) checkCycle(needed, [...path, step.name], byName, checked)
  }
  checked.add(step.name)
}
