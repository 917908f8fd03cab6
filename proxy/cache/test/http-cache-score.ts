import suites, { type CacheTest } from 'http-cache-tests/tests/index.mjs'

/** What one run of http-cache-tests sends. */
export interface Run {
  readonly results: Readonly<Record<string, true | readonly [string, string]>>
  readonly hits: Readonly<Record<string, readonly number[]>>
}

/**
 * - `passed`;
 * - `failed`;
 * - `unset`: what the test builds on did not come about, here or in a test it depends on.
 */
type Verdict = 'passed' | 'failed' | 'unset'

export interface Judged {
  readonly id: string
  readonly suite: string
  readonly kind: 'required' | 'optimal' | 'check'
  readonly verdict: Verdict
  /** A stored answer was given out where it may not be. */
  readonly forbidden: boolean
}

/** How the suite says that a request was answered without asking upstream, and which one it was. */
const UNASKED =
  /^(?:Response (\d+) comes from cache|request (\d+) wasn't sent|Request (\d+) should have been conditional)/

const tests = suites.flatMap(({ name, tests }) => tests.map((test) => ({ ...test, suite: name })))
const byId = new Map(tests.map((test) => [test.id, test]))

/**
 * The best of several runs: a machine that pauses makes what is fresh stale. Nothing makes what is stale fresh, so
 * one stored answer that was forbidden in one run counts.
 */
export function judge(runs: readonly Run[]): readonly Judged[] {
  return tests
    .filter(({ browser_only: browserOnly }) => browserOnly !== true)
    .map((test) => {
      const kind = test.kind ?? 'required'
      const verdicts = runs.map((run) => verdictOf(test, run))
      return {
        id: test.id,
        suite: test.suite,
        kind,
        verdict: verdicts.includes('passed') ? 'passed' : (verdicts[0] ?? 'unset'),
        forbidden: kind === 'required' && runs.some((run) => isForbidden(test.id, run)),
      }
    })
}

/** A test counts only with those it depends on, as the suite's own table has it. */
function verdictOf({ id, depends_on: dependsOn = [] }: CacheTest, run: Run): Verdict {
  const grounds = dependsOn.map((ground) => byId.get(ground))
  if (grounds.some((ground) => ground !== undefined && verdictOf(ground, run) !== 'passed')) return 'unset'
  const result = run.results[id]
  if (result === true) return 'passed'
  return result === undefined || result[0] === 'Setup' ? 'unset' : 'failed'
}

/** Also where a test it depends on did not pass: what was served was served. */
function isForbidden(id: string, { results, hits }: Run): boolean {
  const result = results[id]
  if (result === undefined || result === true) return false
  const [, ...numbers] = UNASKED.exec(result[1]) ?? []
  const number = numbers.find((found) => found !== undefined)
  return number !== undefined && hits[id]?.includes(Number(number)) === true
}

/** Passed and all tests of a kind. */
export function count(judged: readonly Judged[], kind: Judged['kind']): string {
  const all = judged.filter((test) => test.kind === kind)
  return `${all.filter(({ verdict }) => verdict === 'passed').length} of ${all.length}`
}
