import t from 'tap'
import { TargetError, makeTarget, parseTarget } from '../target.js'

t.test('every spelling of one authority becomes the same canonical form', async (t) => {
  const utf8 = (text: string): string => Buffer.from(text, 'utf8').toString('latin1')
  const cases: readonly [written: string, canonical: string][] = [
    ['example.com:443', 'example.com:443'],
    ['EXAMPLE.Com:443', 'example.com:443'],
    ['example.com.:443', 'example.com:443'],
    ['example.com:00443', 'example.com:443'],
    [utf8('bücher.example:443'), 'xn--bcher-kva.example:443'],
    ['127.0.0.1:443', '127.0.0.1:443'],
    ['127.1:443', '127.0.0.1:443'],
    ['0x7f.1:443', '127.0.0.1:443'],
    ['0x7f000001:443', '127.0.0.1:443'],
    ['2130706433:443', '127.0.0.1:443'],
    ['0177.0.0.1:443', '127.0.0.1:443'],
    ['127.0.0.1.:443', '127.0.0.1:443'],
    [utf8('①27.0.0.1:443'), '127.0.0.1:443'],
    ['[::1]:443', '[::1]:443'],
    ['[0:0:0:0:0:0:0:1]:443', '[::1]:443'],
    ['[::ffff:7f00:1]:443', '127.0.0.1:443'],
    ['[::ffff:127.0.0.1]:443', '127.0.0.1:443'],
    ['[2001:DB8::A]:8443', '[2001:db8::a]:8443'],
  ]
  for (const [written, canonical] of cases) {
    t.equal(parseTarget(written, undefined).authority, canonical, JSON.stringify(written))
  }
  t.equal(parseTarget('example.com', 80).authority, 'example.com:80', 'the default port is filled in')
  t.equal(makeTarget('::1', 80).authority, '[::1]:80')
  t.equal(makeTarget('::ffff:7f00:1', 80).authority, '127.0.0.1:80')
})

t.test('what has no canonical form is refused', async (t) => {
  const cases = [
    '',
    ':443',
    'example.com',
    'example.com:',
    'example.com:0',
    'example.com:65536',
    'example.com:99999999',
    'example.com:80:80',
    'example.com:-1',
    'example.com:8o',
    'user@example.com:443',
    'example.com/path:443',
    'example.com?x:443',
    'example.com#x:443',
    'exa mple.com:443',
    'example%2ecom:443',
    'exam\0ple.com:443',
    'exam\tple.com:443',
    'example..com:443',
    '.example.com:443',
    'example.com..:443',
    `${'a'.repeat(64)}.com:443`,
    `${'a.'.repeat(130)}com:443`,
    '1.2.3.4.5:443',
    '256.256.256.256:443',
    '[::1:443',
    '::1:443',
    '[::1%25eth0]:443',
    '[::1%eth0]:443',
    '[example.com]:443',
    '\xff\xfe:443',
    'a\\b:443',
  ]
  for (const written of cases)
    t.throws(() => parseTarget(written, undefined), TargetError, JSON.stringify(written))
})
