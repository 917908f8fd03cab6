/** What a block says with `t.comment`: figures and seeds; the rest at that depth is tap's own. */
const REMARK = /^ {4}# (?!Subtest\b|time=|\{ )(.+)$/

/**
 * Reads the TAP (testanything.org, version 14) that one test file prints, as far as a summary needs it: the
 * points at the left margin are the file's `t.test` blocks, what is indented before one belongs to it.
 *
 * What a test prints itself may look like TAP, so a point only counts when it has the next number.
 */
export function readTap(output) {
  const blocks = []
  let lines = []
  let planned
  let bail
  let inDiagnosis = false
  for (const line of output.split('\n')) {
    const last = blocks.at(-1)
    if (last !== undefined && lines.length === 0 && line === '  ---') inDiagnosis = true
    if (inDiagnosis) {
      last.lines.push(line)
      if (line === '  ...') inDiagnosis = false
      continue
    }
    const point =
      /^(ok|not ok) (\d+)(?: - (.*?))?(?: # (SKIP|TODO)\b ?(.*?))?(?: # time=([\d.]+)ms)?(?: \{)?$/i.exec(
        line,
      )
    if (point !== null && Number(point[2]) === blocks.length + 1) {
      const [, verdict, , name = '(no name)', directive, reason, time] = point
      blocks.push({
        name,
        state: stateOf(verdict, directive, lines),
        reason: reason ?? '',
        ms: time === undefined ? undefined : Number(time),
        lines: [...lines, line],
        remarks: lines.flatMap((said) => REMARK.exec(said)?.[1] ?? []),
      })
      lines = []
      continue
    }
    const plan = /^1\.\.(\d+)/.exec(line)
    if (plan !== null) planned = Number(plan[1])
    else if (line.startsWith('Bail out!')) bail = line
    else lines.push(line)
  }
  return { blocks, complete: bail === undefined && planned === blocks.length, bail, rest: lines }
}

/** A block that skipped one of its own points did not run whole, which must not pass for success. */
function stateOf(verdict, directive, lines) {
  if (directive !== undefined) return 'skipped'
  if (verdict === 'not ok') return 'failed'
  return lines.some((line) => /^\s+ok \d+.* # (SKIP|TODO)\b/i.test(line)) ? 'skipped' : 'passed'
}
