/** The promise: the same answers as `node:net` gives, without what its regular expression costs. */
import net from 'node:net'
import t from 'tap'
import { isIPv6 } from '../is-ipv6.js'

const TEXTS = [
  ...[
    '::',
    '::1',
    'fe80::1',
    'FE80::A',
    '1:2:3:4:5:6:7:8',
    '1:2:3:4:5:6:7::',
    '::2:3:4:5:6:7:8',
    '1::3:4:5:6:7:8',
  ],
  ...[
    '::ffff:10.0.0.1',
    '64:ff9b::10.0.0.1',
    '1:2:3:4:5:6:10.0.0.1',
    '1::10.0.0.1',
    'fe80::1%eth0',
    'fe80::1%1.a-b:c',
  ],
  ...[
    '',
    ':',
    ':::',
    '1',
    '10.0.0.1',
    'a',
    '1:2',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1::2::3',
    '12345::',
    'g::',
  ],
  ...[
    '1:2:3:4::5:6:7:8',
    '::1:2:3:4:5:6:7:8',
    '1:2:3:4:5:6:7:8::',
    ':1:2:3:4:5:6:7:8',
    '1:2:3:4:5:6:7:8:',
    '1:::2',
  ],
  ...[
    '::10.0.0',
    '::10.0.0.256',
    '::10.0.0.01',
    '::10.0.0.1.1',
    '10.0.0.1::',
    '::10.0.0.1:1',
    '::1.2.3.4%',
    '::1%',
  ],
  ...[
    '::1\u0000',
    '::1\u0000x',
    ' ::1',
    '::1 ',
    '::1\n',
    '[::1]',
    '::1%eth0%1',
    '::1%e/h',
    '::1/64',
    '::١',
    'localhost:80',
  ],
]

t.test('what is an address, and what is not', (t) => {
  for (const text of TEXTS) t.equal(isIPv6(text), net.isIPv6(text), JSON.stringify(text))
  t.end()
})

t.test('whatever is put together of its signs', (t) => {
  const signs = ['1', 'f', '00', ':', ':', '::', '.', '1.2.3.4', '%', 'x']
  for (let round = 0; round < 20_000; round += 1) {
    const length = 1 + (round % 12)
    const text = Array.from({ length }, () => signs[Math.floor(Math.random() * signs.length)]).join('')
    if (isIPv6(text) !== net.isIPv6(text)) t.fail(JSON.stringify(text))
  }
  t.end()
})
