import t from 'tap'
import { isLoopback, isLoopbackHost } from '../loopback.js'

// What is loopback is decided in one place, in whatever spelling it comes.

const LOOPBACK = [
  '127.0.0.1',
  '127.0.0.53',
  '127.255.255.255',
  '::1',
  '::1%lo',
  '0:0:0:0:0:0:0:1',
  '::0001',
  '::ffff:127.0.0.1',
  '::FFFF:127.0.0.1',
  '::ffff:7f00:1',
  '::ffff:7fff:ffff',
]
const OTHERS = [
  '',
  'localhost.test',
  '127.test',
  '127.1',
  '127.0.0.1.test',
  '128.0.0.1',
  '0.0.0.0',
  '10.127.0.1',
  '::',
  '::2',
  '1::1',
  '::7f00:1',
  '::ffff:8000:1',
  '::ffff:127.test',
  '::ffff:10.0.0.1',
  '64:ff9b::7f00:1',
  '::1]',
  '::1/128',
]

t.test('addresses', (t) => {
  for (const address of LOOPBACK) t.ok(isLoopback(address), address)
  for (const address of [...OTHERS, 'localhost', '[::1]']) t.notOk(isLoopback(address), address)
  t.end()
})

t.test('hosts', (t) => {
  for (const host of [...LOOPBACK, 'localhost', 'LocalHost', 'localhost.', '[::1]', '[::ffff:127.0.0.1]'])
    t.ok(isLoopbackHost(host), host)
  for (const host of [...OTHERS, 'a.localhost', 'localhost..', 'localhost:80', '[localhost', '[127.0.0.1'])
    t.notOk(isLoopbackHost(host), host)
  t.end()
})
