import { count, type Judged } from './http-cache-score.js'

/** Tests by id, and why they come out as they do. */
interface Reason {
  readonly ids: RegExp
  readonly why: string
}

/** Why required tests are not passed where upstream says how long answers hold. */
const NOT_PASSED: readonly Reason[] = [
  {
    ids: /^stale-close-/,
    why: 'The stored answer is forbidden and not given: the client gets a 502. The suite takes every answer without its own headers for one from the cache, so no proxy can pass these.',
  },
  {
    ids: /^age-parse-prefix$/,
    why: '`Age: 0,7200` would have to count as 0, while `age-parse-prefix-twoline`, the same in two lines, forbids just that. An `Age` that is not one number counts as very old.',
  },
  {
    ids: /^status-(?!200)\d+-|^status-599-must-understand$/,
    why: 'They need an answer of another status than 200 to be kept first. None is.',
  },
  {
    ids: /^conditional-etag-vary-headers$/,
    why: 'It needs an answer to be kept that varies by a request header. None is, but for `Accept-Encoding`.',
  },
  {
    ids: /Content-Encoding$/,
    why: 'They need an encoded answer to be kept. None is: bodies are asked for, and kept, as they are.',
  },
  {
    ids: /Set-Cookie$/,
    why: 'They need an answer to be kept that sets a cookie. None is, unless it says `public`, and the cookie never.',
  },
  {
    ids: /Content-Range$/,
    why: 'They need a `Content-Range` to be kept of a whole answer, where it means nothing (RFC 9110, 14.4). It would be said beside ours where a part is asked for.',
  },
  {
    ids: /^heuristic-403-not_cached$/,
    why: 'A 403 is not kept. The fetch for the cache is asked again in the words of the client, who may have signed them, and the suite takes that for one request too many.',
  },
  {
    ids: /^headers-store-Transfer-Encoding$/,
    why: 'The answer names a transfer coding that does not exist. Where it ends cannot be known, so the client gets a 502.',
  },
]

/** What a rule that says "this never changes" departs from, and nothing else. */
const DEPARTURES: readonly Reason[] = [
  {
    ids: /^(freshness-max-age|freshness-expires|age-parse)/,
    why: 'How long upstream calls an answer fresh, and how old it says it is.',
  },
  {
    ids: /^(status-200-stale|cc-resp-must-revalidate-stale|stale-close-.*)$/,
    why: 'Asking upstream about what it calls stale.',
  },
  { ids: /^304-/, why: 'Renewing a head by a 304: nothing is asked for that could bring one.' },
]

export interface Scores {
  readonly upstream: readonly Judged[]
  readonly never: readonly Judged[]
}

/** Required tests that nothing above accounts for. */
export function unexplained({ upstream, never }: Scores): string[] {
  return [
    ...notPassed(upstream).filter((id) => !isExplained(NOT_PASSED, id)),
    ...forbidden(upstream),
    ...forbidden(never).filter((id) => !isExplained(DEPARTURES, id)),
  ]
}

/** `docs/http-cache-tests.md`. */
export function report(version: string, { upstream, never }: Scores): string {
  const row = (kind: Judged['kind'], meaning: string): string =>
    `| ${kind} | ${meaning} | ${count(upstream, kind)} | ${count(never, kind)} |`
  return `# http-cache-tests

[http-cache-tests](https://cache-tests.fyi) ${version} is what HTTP caches are compared by. \`proxy/cache/test/http-cache-tests.serial.test.ts\` runs it against the proxy in CI and fails when what it measures is not what this page says; \`WRITE_SCORE=1\` writes the page anew. Tests for browsers are left out.

The proxy keeps what rules name. It was measured with two rules: one with \`ttl: upstream\`, under which [RFC 9111 holds](configuration.md#entries-that-change), and one with \`ttl: 0\`, the default, which says that what it matches never changes. The columns count tests that passed; with \`ttl: 0\` most others are of freshness, which such a rule disregards. Under a URL alone the rules send the headers along by which the tests tell their requests apart (\`pass_headers\`); others that the tests make up keep a request from being answered from the store.

| tests | of | \`ttl: upstream\` | \`ttl: 0\` |
| --- | --- | --- | --- |
${row('required', 'what RFC 9111 demands')}
${row('optimal', 'what a cache could make more use of')}
${row('check', 'what caches differ in, neither right nor wrong')}

With \`ttl: upstream\` no stored answer was given out where a required test forbids it.

## Required tests that are not passed with \`ttl: upstream\`

${sections(NOT_PASSED, notPassed(upstream))}

## What \`ttl: 0\` departs from

Here a stored answer was given out, or none was asked for, though the test wants upstream to be asked. A rule that is not \`upstream\` says that there is nothing to ask about; who does not want that writes \`ttl: upstream\`. All other required tests about what may not be given out hold under either rule: \`no-store\`, \`private\`, \`no-cache\`, \`Vary\`, \`Authorization\`, and what \`POST\`, \`PUT\`, \`DELETE\` and others have changed.

${sections(DEPARTURES, forbidden(never))}
`
}

function sections(reasons: readonly Reason[], ids: readonly string[]): string {
  return reasons
    .map(({ ids: pattern, why }) => ({ why, found: ids.filter((id) => pattern.test(id)) }))
    .filter(({ found }) => found.length > 0)
    .map(({ why, found }) => `- ${why} (${found.map((id) => `\`${id}\``).join(', ')})`)
    .join('\n')
}

function notPassed(judged: readonly Judged[]): string[] {
  return judged.filter(({ kind, verdict }) => kind === 'required' && verdict !== 'passed').map(({ id }) => id)
}

function forbidden(judged: readonly Judged[]): string[] {
  return judged.filter((test) => test.forbidden).map(({ id }) => id)
}

function isExplained(reasons: readonly Reason[], id: string): boolean {
  return reasons.some(({ ids }) => ids.test(id))
}
