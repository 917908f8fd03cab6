import t from 'tap'
import { parseByteSize } from '../byte-size.js'
import { nearestName } from '../nearest-name.js'
import { pathPatternComplaint } from '../../config/model/path-pattern.js'

t.test('sizes are bytes, with units of 1024', async (t) => {
  const sizes: readonly (readonly [number | string, number | undefined])[] = [
    [21474836480, 21474836480],
    ['50GB', 53687091200],
    ['512MiB', 536870912],
    ['1.5 GiB', 1610612736],
    ['64k', 65536],
    ['1t', 1099511627776],
    ['1024', 1024],
    ['10B', 10],
    ['0', undefined],
    ['0.1B', undefined],
    ['-1GB', undefined],
    ['1 000', undefined],
    ['1PB', undefined],
    ['GB', undefined],
    ['1e3', undefined],
    [' 1GB', undefined],
    [Number.NaN, undefined],
    [Infinity, undefined],
    [2 ** 53, undefined],
  ]
  for (const [size, bytes] of sizes) t.equal(parseByteSize(size), bytes, String(size))
})

t.test('a typo is told what was meant, and only a typo', async (t) => {
  const names = ['enabled', 'dir', 'max_size', 'patterns', 'set', 'append']
  const meant: readonly (readonly [string, string | undefined])[] = [
    ['max_sise', 'max_size'],
    ['maxsize', 'max_size'],
    ['MAX-SIZE', 'max_size'],
    ['enabeld', 'enabled'],
    ['pattern', 'patterns'],
    ['dri', 'dir'],
    ['path', undefined],
    ['x', undefined],
    ['', undefined],
    ['completely_different', undefined],
  ]
  for (const [name, expected] of meant) t.equal(nearestName(name, names), expected, name)
})

t.test('patterns that could be matched for ever are refused, ordinary ones are not', async (t) => {
  const fine = [
    '^/v2/.*/blobs/sha256:.*',
    '^/(@[^/]+/)?[^/]+/-/[^/]+\\.tgz$',
    '^/packages/[0-9a-f]{2}/[0-9a-f]{60}/',
    '\\.crate$',
    '/@v/v[^/]+\\.(zip|mod|info)$',
    '/pool/.+\\.(deb|udeb|dsc|tar\\.\\w+)$',
    '^/(?:ab)+/',
    '[(+*]+',
    '\\(a+\\)+',
    '^(?=/x)',
    '(?<name>a)*',
    '[^\\]+]+$',
    'a{2,3}b',
    '(a|b)?',
  ]
  for (const pattern of fine) t.equal(pathPatternComplaint(pattern), undefined, pattern)
  const refused = [
    '(a+)+$',
    '(a*)*',
    '(.*)*',
    '(a|a)*',
    '(a|b)+',
    '(a?){30}',
    '((a+)b)+',
    '(?:a+){2,}',
    '(x(a|b)y)*',
    '(a)\\1',
    '(?<n>a)\\k<n>',
    '(',
    '[',
    'a**',
    '',
    'x'.repeat(513),
    '(?:[^/]+/)*x',
  ]
  for (const pattern of refused) t.type(pathPatternComplaint(pattern), 'string', pattern)
})
