import { formatHostPattern, type HostPattern } from './host-pattern.js'

/** Whether `outer` matches every host that `inner` does. */
export function patternCovers(outer: HostPattern, inner: HostPattern): boolean {
  if (outer.kind === 'any') return true
  if (inner.kind === 'any') return false
  if (outer.kind === inner.kind && outer.rest === inner.rest) return true
  switch (outer.kind) {
    case 'exact':
      return false
    case 'below':
      return inner.kind !== 'then-one' && inner.rest.endsWith(`.${outer.rest}`)
    case 'then-one':
      return inner.kind === 'exact' && withoutLastLabel(inner.rest) === outer.rest
  }
}

/**
 * Whether there is a host that both match and for which `rival` would be chosen before `pattern`: the order
 * of `compileHostPatterns`, in which an exact name wins, then the longest, then `*.rest` before `rest.*`.
 */
export function patternOverrules(rival: HostPattern, pattern: HostPattern): boolean {
  if (!patternsMeet(rival, pattern)) return false
  if (pattern.kind === 'exact') return false
  if (rival.kind === 'exact' || pattern.kind === 'any') return rival.kind !== 'any'
  if (rival.kind === 'any') return false
  const longer = formatHostPattern(rival).length - formatHostPattern(pattern).length
  return longer > 0 || (longer === 0 && rival.kind === 'below' && pattern.kind === 'then-one')
}

/** Whether there is a host that both match. */
function patternsMeet(a: HostPattern, b: HostPattern): boolean {
  if (patternCovers(a, b) || patternCovers(b, a)) return true
  if (a.kind === 'below' && b.kind === 'then-one') return belowMeetsThenOne(a.rest, b.rest)
  if (a.kind === 'then-one' && b.kind === 'below') return belowMeetsThenOne(b.rest, a.rest)
  return false
}

/** `*.b.com` meets `a.b.*` in `a.b.com`: the free label takes the last one of the suffix. */
function belowMeetsThenOne(suffix: string, stem: string): boolean {
  const fixed = withoutLastLabel(suffix)
  return fixed === '' || stem.endsWith(`.${fixed}`)
}

function withoutLastLabel(name: string): string {
  return name.slice(0, Math.max(0, name.lastIndexOf('.')))
}
