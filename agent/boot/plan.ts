import { BootGraphError } from './errors.js'
import type { BootStep } from '../status/step.js'

type Node = Pick<BootStep, 'name' | 'needs'>

/**
 * The steps of one boot. A step that is left out takes the waiting for it with it, but only where it is said to be left
 * out: a name that is neither a step nor absent is a mistake, and its step would start too early.
 *
 * @param absent names of the steps that a mode or a setting leaves out.
 * @throws BootGraphError as {@link checkGraph}, and when a step is said to be absent that is not.
 */
export function planned(steps: readonly BootStep[], absent: readonly string[]): BootStep[] {
  const present = steps.find(({ name }) => absent.includes(name))
  if (present !== undefined)
    throw new BootGraphError(`the step ${JSON.stringify(present.name)} is there and left out`)
  const plan = steps.map((step) => ({ ...step, needs: step.needs.filter((need) => !absent.includes(need)) }))
  checkGraph(plan)
  return plan
}

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
