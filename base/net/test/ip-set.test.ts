import t from 'tap'
import { formatIpAddress, parseIpAddress } from '../ip-address.js'
import {
  compileIpCover,
  compileIpSet,
  formatIpBlock,
  IpBlockError,
  parseIpBlock,
  type IpBlock,
} from '../ip-set.js'

t.test('an address is found however it is written and wrapped', async (t) => {
  const set = compileIpSet([
    '10.0.0.0/8',
    '127.0.0.1',
    '169.254.169.254',
    'fd00::/8',
    '2001:db8::1',
    '::ffff:192.168.0.0/112',
  ])
  const inside = [
    '10.0.0.0',
    '10.255.255.255',
    '127.0.0.1',
    '::ffff:10.1.2.3',
    '::ffff:a01:203',
    '[::ffff:7f00:1]',
    '::10.1.2.3',
    '::127.0.0.1',
    '64:ff9b::10.1.2.3',
    '64:ff9b::a9fe:a9fe',
    '64:ff9b:1::10.0.0.1',
    '64:ff9b:1:a00:0:100::',
    '64:ff9b:1:a:0:1::',
    '64:ff9b:1:0:a:0:100:0',
    '2001:4860::5efe:10.0.0.1',
    '2001:4860::200:5efe:10.0.0.1',
    '::ffff:0:10.0.0.1',
    '2002:a00:1::1',
    '2001:0:1::f5ff:fffe',
    'fd00::1',
    'fdff:ffff::',
    '2001:DB8:0::1',
    '192.168.255.1',
    'fd00::1%eth0',
    '0:0:0:0:0:ffff:10.0.0.1',
  ]
  const outside = [
    '9.255.255.255',
    '11.0.0.0',
    '127.0.0.2',
    '::1',
    '::',
    'fe00::',
    '2001:db8::2',
    '192.169.0.1',
    '64:ff9b::11.0.0.1',
    '64:ff9b:2::10.0.0.1',
    'example.com',
    '',
    '10.0.0',
    '010.0.0.1',
  ]
  for (const address of inside) t.ok(set.has(address), address)
  for (const address of outside) t.notOk(set.has(address), address)
})

t.test('the widest blocks and the empty set are right', async (t) => {
  t.ok(compileIpSet(['0.0.0.0/0']).has('255.255.255.255'))
  t.notOk(compileIpSet(['0.0.0.0/0']).has('2001:db8::1'))
  t.ok(compileIpSet(['::/0']).has('ffff::'))
  t.notOk(compileIpSet(['::/0']).has('1.2.3.4'))
  t.ok(compileIpSet([]).isEmpty)
  t.notOk(compileIpSet([]).has('1.2.3.4'))
})

t.test('the loopback and the unspecified address of IPv6 are not taken for IPv4 ones', async (t) => {
  const set = compileIpSet(['0.0.0.0/8'])
  t.notOk(set.has('::1'))
  t.notOk(set.has('::'))
})

t.test('what is no block is refused, and a block with bits beyond its prefix is corrected', async (t) => {
  const bad = [
    '',
    '10.0.0',
    '10.0.0.0/33',
    '10.0.0.0/',
    '10.0.0.0/08',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '::/129',
    'fe80::1%eth0',
    '[::1]',
    'x',
    '::ffff:10.0.0.0/95',
  ]
  for (const entry of bad) {
    t.type(parseIpBlock(entry), 'string', entry)
    t.throws(() => compileIpSet([entry]), IpBlockError)
  }
  t.equal(parseIpBlock('10.1.2.3/8'), 'has bits set beyond its prefix; write 10.0.0.0/8')
  t.equal(parseIpBlock('2001:db8::1/32'), 'has bits set beyond its prefix; write 2001:db8::/32')
})

t.test('addresses and blocks have one spelling', async (t) => {
  const spellings = {
    '2001:0DB8:0:0:0:0:0:1': '2001:db8::1',
    '::FFFF:1.2.3.4': '1.2.3.4',
    '::': '::',
    '1:0:0:2:0:0:0:3': '1:0:0:2::3',
  }
  for (const [text, spelling] of Object.entries(spellings)) {
    const address = parseIpAddress(text)
    t.equal(address && formatIpAddress(address), spelling)
  }
  t.equal(formatIpBlock(valid('::ffff:10.0.0.0/104')), '10.0.0.0/8')
  t.equal(formatIpBlock(valid('FD00::/8')), 'fd00::/8')
  t.equal(formatIpBlock(valid('10.0.0.1/32')), '10.0.0.1')
})

t.test('a block covers what lies within it, of its own family', async (t) => {
  t.ok(compileIpCover(['10.0.0.0/8'])('10.1.0.0/16'))
  t.ok(compileIpCover(['10.0.0.0/8'])('10.0.0.0/8'))
  t.notOk(compileIpCover(['10.1.0.0/16'])('10.0.0.0/8'))
  t.notOk(compileIpCover(['10.0.0.0/8'])('11.0.0.1'))
  t.notOk(compileIpCover(['::/0'])('10.0.0.1'))
  const several = compileIpCover(['fd00::/8', '10.0.0.0/8', '192.168.1.1'])
  t.strictSame(
    ['10.255.0.0/16', '192.168.1.1', 'fd12::/16', '0.0.0.0/0', '192.168.1.0/24', '*'].map(several),
    [true, true, true, false, false, false],
  )
})

function valid(entry: string): IpBlock {
  const block = parseIpBlock(entry)
  if (typeof block === 'string') throw new TypeError(`${entry} ${block}`)
  return block
}
