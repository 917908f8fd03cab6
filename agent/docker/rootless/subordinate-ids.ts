import { ensureFile, readIfPresent } from '../../system/atomic-file.js'

/** login.defs(5), SUB_UID_MIN: no account of a system has its number from here on. */
const FIRST = 100_000
/** Further ids of the engine, besides its own: those that images use. */
const COUNT = 65_536

interface Range {
  readonly start: number
  readonly count: number
}

/**
 * The ids that the account's containers have, in the text of a subuid(5) or subgid(5) file. In a container, `same` is
 * what it is outside: `docker run -u "$(id -u)"` on a folder of the workspace's user works as it does with a rootful
 * engine. All others are nobody else's. What is right already stays, since files in the engine's folder have these ids.
 *
 * @param same uid or gid of the workspace's user; 0 is never among them.
 */
export function withSubordinateIds(text: string, account: string, same: number): string {
  const lines = text.split('\n').filter((line) => line !== '')
  const isOurs = (line: string): boolean => line.startsWith(`${account}:`)
  const others = lines.filter((line) => !isOurs(line))
  const free = Math.max(FIRST, same >= FIRST ? same + 1 : 0, ...others.map(endOf))
  const former = lines.find((line) => isOurs(line) && startOf(line) >= FIRST && startOf(line) !== same)
  const kept = former === undefined ? free : startOf(former)
  const start = others.some((line) => startOf(line) < kept + COUNT && endOf(line) > kept) ? free : kept
  const wanted = rangesOf(start, same).map(({ start: from, count }) => `${account}:${from}:${count}`)
  if (wanted.join('\n') === lines.filter(isOurs).join('\n')) return text
  return `${[...others, ...wanted].join('\n')}\n`
}

/** Number of `same` in the engine's containers; newuidmap numbers from 1, line by line. */
export function innerId(same: number): number {
  return same <= COUNT ? same : COUNT + 1
}

function rangesOf(start: number, same: number): readonly Range[] {
  if (same === 0) return [{ start, count: COUNT }]
  if (same > COUNT)
    return [
      { start, count: COUNT },
      { start: same, count: 1 },
    ]
  const ranges = [
    { start, count: same - 1 },
    { start: same, count: 1 },
    { start: start + same, count: COUNT - same },
  ]
  return ranges.filter(({ count }) => count > 0)
}

function startOf(line: string): number {
  return Number(line.split(':')[1] ?? 0)
}

function endOf(line: string): number {
  const [, start = '', count = ''] = line.split(':')
  return (Number(start) || 0) + (Number(count) || 0)
}

/** @param root prefix of the file system to work on; empty for ours. */
export async function giveSubordinateIds(
  account: string,
  user: { readonly uid: number; readonly gid: number },
  root = '',
): Promise<void> {
  for (const [name, same] of [
    ['subuid', user.uid],
    ['subgid', user.gid],
  ] as const) {
    const path = `${root}/etc/${name}`
    const text = (await readIfPresent(path)) ?? ''
    const wanted = withSubordinateIds(text, account, same)
    if (wanted !== text) await ensureFile(path, wanted, { mode: 0o644 })
  }
}
