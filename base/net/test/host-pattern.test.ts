import t from 'tap'
import fc from 'fast-check'
import { canonicalHost } from '../host-name.js'
import { compileHostPatterns, HostPatternError, parseHostPattern } from '../host-pattern.js'
import { compileOverruled, compilePatternCover } from '../host-pattern-index.js'

t.test('of the patterns that match a host, the most specific is chosen', async (t) => {
  const patterns = [
    '*',
    'api.*',
    '*.example.com',
    '*.deep.example.com',
    'Registry.Example.com.',
    'a.b.*',
    '*.com',
  ]
  const matcher = compileHostPatterns(
    [...patterns, '*.bücher.example', '[::ffff:10.0.0.1]', '[2001:DB8::1]'].map((p) => [p, p]),
  )
  const expected: readonly (readonly [string, string])[] = [
    ['registry.example.com', 'registry.example.com'],
    ['REGISTRY.EXAMPLE.COM.', 'registry.example.com'],
    ['other.example.com', '*.example.com'],
    ['a.b.c.example.com', '*.example.com'],
    ['x.deep.example.com', '*.deep.example.com'],
    ['deep.example.com', '*.example.com'],
    ['example.com', '*.com'],
    ['api.com', '*.com'],
    ['api.net', 'api.*'],
    ['api.evil.net', '*'],
    ['a.b.net', 'a.b.*'],
    ['com', '*'],
    ['x.xn--bcher-kva.example', '*.xn--bcher-kva.example'],
    ['xn--bcher-kva.example', '*'],
    ['10.0.0.1', '10.0.0.1'],
    ['[2001:db8::1]', '2001:db8::1'],
    ['10.0.0.2', '*'],
    ['xexample.com', '*.com'],
  ]
  for (const [host, pattern] of expected) t.equal(matcher.best(host)?.pattern, pattern, host)
  t.notOk(matcher.matchesAny(''))
})

t.test('what no pattern matches is not matched, and a name in Object.prototype is only a name', async (t) => {
  const matcher = compileHostPatterns([
    ['*.example.com', 1],
    ['api.*', 2],
  ])
  for (const host of [
    'example.com',
    'api.evil.com',
    'api',
    'xapi.com',
    '.com',
    '.',
    '__proto__',
    'constructor',
    'api.com.evil',
  ]) {
    t.notOk(matcher.matchesAny(host), host)
  }
  t.ok(matcher.matchesAny('api.com'))
})

t.test('equal patterns: the first counts; of equal length, *.x goes before x.*', async (t) => {
  t.equal(
    compileHostPatterns([
      ['A.example', 1],
      ['a.example.', 2],
    ]).best('a.example')?.value,
    1,
  )
  t.equal(
    compileHostPatterns([
      ['api.*', 1],
      ['*.com', 2],
    ]).best('api.com')?.value,
    2,
  )
})

t.test('what is not a pattern is refused', async (t) => {
  const bad = [
    '',
    '.',
    'a*.com',
    '*.*',
    '*.x.*',
    'a.*.b',
    '**',
    '*.',
    '.*',
    'x y',
    'x/y',
    'http://x',
    'x:80',
    '[::1]:80',
    'a..b',
    '10.*',
    '192.168.1.*',
    '*.1',
    '*.0x7f',
    'a%2eb',
    'user@x',
    'x\0',
    'a\nb',
    'fe80::1%eth0',
    '256.1.1.1',
    `${'a'.repeat(64)}.com`,
    `${'a.'.repeat(130)}com`,
    '*.*.com',
  ]
  for (const pattern of bad) {
    t.type(parseHostPattern(pattern), 'string', JSON.stringify(pattern))
    t.throws(() => compileHostPatterns([[pattern, 1]]), HostPatternError)
  }
})

t.test('every spelling of a host comes out as one', async (t) => {
  const spellings: readonly (readonly [string, string | undefined])[] = [
    ['Example.COM.', 'example.com'],
    ['BÜCHER.example', 'xn--bcher-kva.example'],
    ['0x7f.1', '127.0.0.1'],
    ['2130706433', '127.0.0.1'],
    ['127.1', '127.0.0.1'],
    ['①27.0.0.1', '127.0.0.1'],
    ['[::ffff:7f00:1]', '127.0.0.1'],
    ['[0:0:0:0:0:0:0:1]', '::1'],
    ['_dmarc.example.com', '_dmarc.example.com'],
    ['XN--BCHER-KVA.example', 'xn--bcher-kva.example'],
    ['xn--53h.test', 'xn--53h.test'],
    ['a.xn--0', undefined],
    ['xn--.test', undefined],
    ['xn--a-.test', undefined],
    ['XN--AAA.test', undefined],
    ['xn--xn---epa.test', undefined],
    ['xn--99999999.test', undefined],
    ['ex%61mple.com', undefined],
    ['example.com:80', undefined],
    ['a b', undefined],
    ['', undefined],
  ]
  for (const [text, host] of spellings) t.equal(canonicalHost(text), host, text)
})

t.test(
  'coverage and precedence between patterns agree with what the matcher does on every small host',
  async (t) => {
    const names = ['a', 'b']
    const hosts = names.flatMap((x) => [
      x,
      ...names.flatMap((y) => [
        `${x}.${y}`,
        ...names.flatMap((z) => [`${x}.${y}.${z}`, ...names.map((w) => `${x}.${y}.${z}.${w}`)]),
      ]),
    ])
    const rests = hosts.filter((host) => host.length <= 5)
    const texts = ['*', ...rests, ...rests.map((rest) => `*.${rest}`), ...rests.map((rest) => `${rest}.*`)]
    const patterns = texts.map((text) => ({
      text,
      matcher: compileHostPatterns([[text, 1]]),
      covers: compilePatternCover([text]),
      overruledBy: compileOverruled([text]),
    }))
    let wrong = 0
    for (const outer of patterns) {
      for (const inner of patterns) {
        // Hosts are at most four labels here, so a pattern may cover another on them by accident of that.
        const covers = hosts.every(
          (host) => !inner.matcher.matchesAny(host) || outer.matcher.matchesAny(host),
        )
        if (outer.covers(inner.text) && !covers) wrong++
        const both = compileHostPatterns([
          [outer.text, 'outer'],
          [inner.text, 'inner'],
        ])
        const overrules = hosts.some(
          (host) => inner.matcher.matchesAny(host) && both.best(host)?.value === 'outer',
        )
        const found = inner.overruledBy(outer.text)
        if (outer.text === inner.text) {
          if (found !== inner.text) wrong++
          continue
        }
        if (overrules && found !== inner.text) wrong++
        if (!overrules && found !== undefined && outer.text.length + inner.text.length < 8) wrong++
      }
    }
    t.equal(wrong, 0)
    t.ok(compilePatternCover(['*.example.com'])('*.a.example.com'))
    t.ok(compilePatternCover(['*'])('api.*'))
    t.notOk(compilePatternCover(['*.example.com'])('example.com'))
    t.notOk(compilePatternCover(['*.com'])('api.*'))
    t.notOk(compilePatternCover(['not a pattern'])('a'))
    t.notOk(compilePatternCover(['*'])('not a pattern'))
  },
)

t.test('what holds of each of many patterns is found among all of them', async () => {
  const name = fc.array(fc.constantFrom('a', 'b', 'long'), { minLength: 1, maxLength: 4 })
  const rest = name.map((labels) => labels.join('.'))
  const text = fc.oneof(
    rest,
    rest.map((part) => `*.${part}`),
    rest.map((part) => `${part}.*`),
    fc.constant('*'),
  )
  fc.assert(
    fc.property(fc.array(text, { maxLength: 12 }), text, (patterns, rival) => {
      const found = compileOverruled(patterns)(rival)
      const overruled = patterns.filter((pattern) => compileOverruled([pattern])(rival) !== undefined)
      if (found === undefined ? overruled.length > 0 : !overruled.includes(found)) return false
      const isCovered = patterns.some((pattern) => compilePatternCover([pattern])(rival))
      return compilePatternCover(patterns)(rival) === isCovered
    }),
    { numRuns: 2000 },
  )
})

t.test('a lookup among 100,000 patterns does not look at each', async (t) => {
  const entries = Array.from({ length: 100_000 }, (_, index) => [`*.h${index}.example`, index] as const)
  const matcher = compileHostPatterns(entries)
  const started = performance.now()
  for (let round = 0; round < 10_000; round++) matcher.best(`a.b.h${round}.example`)
  // A scan would take minutes; this takes some 10 ms.
  t.ok(performance.now() - started < 2000)
})
