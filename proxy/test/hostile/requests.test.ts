import t from 'tap'
import { HOST, malformed, refused, runTable, served, type Expected, type Row } from './table.js'

// One request line, one Host, one meaning; and what cannot be read is said and ends the connection.

const field = (what: string, lines: string, expected: Expected): Row => ({
  what,
  send: ({ request }) => request('GET', lines),
  expected,
})

/** A request whose line is written out. */
const line = (
  what: string,
  write: (url: string, path: string) => string,
  expected: Expected,
  inTunnel?: Partial<Expected>,
): Row => ({
  what,
  send: ({ url, path, at }) => `${write(url(), path())}\r\nHost: ${at}\r\n\r\n`,
  expected,
  ...(inTunnel === undefined ? {} : { inTunnel }),
})

const hosts = (
  what: string,
  write: (at: string, port: number) => string,
  expected: Expected,
  inTunnel?: Partial<Expected>,
): Row => ({
  what,
  send: ({ url, at, port }) => `GET ${url()} HTTP/1.1\r\n${write(at, port)}\r\n`,
  expected,
  ...(inTunnel === undefined ? {} : { inTunnel }),
})

/** RFC 9112, 3.2.2: beside an absolute URI another Host is ignored; in a tunnel it is a second opinion. */
const otherHost = (what: string, write: (at: string, port: number) => string): Row =>
  hosts(what, write, served('GET'), refused(421))

const fields: readonly Row[] = [
  field('a space before a colon', 'X : 1\r\n', malformed()),
  field('a tab before a colon', 'X\t: 1\r\n', malformed()),
  field('no colon', 'X\r\n', malformed()),
  field('no name', ': 1\r\n', malformed()),
  field('a space in a name', 'X Y: 1\r\n', malformed()),
  field('a NUL in a name', 'X\0Y: 1\r\n', malformed()),
  field('a bracket in a name', 'X[]: 1\r\n', malformed()),
  field('a high byte in a name', 'X\xe9: 1\r\n', malformed()),
  field('a NUL in a value', 'X: a\0b\r\n', malformed()),
  field('a control byte in a value', 'X: a\x01b\r\n', malformed()),
  field('a DEL in a value', 'X: a\x7fb\r\n', malformed()),
  field('a bare CR in a value', 'X: a\rGET /smuggled HTTP/1.1\r\n', malformed()),
  field('a bare LF in a value', 'X: a\nGET /smuggled HTTP/1.1\r\n', malformed()),
  field('a header split by a bare LF', 'X: a\nY: b\r\n', malformed()),
  field('a folded line', 'X: a\r\n b\r\n', malformed()),
  field('a line folded by a tab', 'X: a\r\n\tb\r\n', malformed()),
  field('a field that begins with a space', ' X: a\r\n', malformed()),
  field('an encoded line break, which is text', 'X: a%0d%0aY: b\r\n', served('GET')),
  field('high bytes in a value, which old clients send', 'X: \xe9\xff\r\n', served('GET')),
  field('a name with every character a token may have', "!#$%&'*+-.^_`|~0aZ: 1\r\n", served('GET')),
  field('__proto__ and constructor', '__proto__: 1\r\nconstructor: 2\r\n', served('GET')),
  field('h2c, which is not passed on', 'Connection: Upgrade\r\nUpgrade: h2c\r\n', served('GET')),
  field(
    'an offer of HTTP/2 in capitals among others',
    'Connection: Upgrade\r\nUpgrade: tcp, H2C\r\n',
    served('GET'),
  ),
  field('an Upgrade that Connection does not name', 'Upgrade: websocket\r\n', served('GET')),
  field('an expectation nobody has, which upstream refuses', 'Expect: the-unexpected\r\n', refused(417)),
  field('Connection names Host', 'Connection: host\r\n', served('GET')),
  field('an empty Connection', 'Connection: ,, ,\r\n', served('GET')),
]

const lines: readonly Row[] = [
  line('no version (HTTP/0.9)', (url) => `GET ${url}`, malformed(505)),
  line('HTTP/0.9', (url) => `GET ${url} HTTP/0.9`, malformed(505)),
  line('HTTP/1.2', (url) => `GET ${url} HTTP/1.2`, malformed()),
  line('HTTP/2.0', (url) => `GET ${url} HTTP/2.0`, malformed(505)),
  line('HTTP/11', (url) => `GET ${url} HTTP/11`, malformed()),
  line('HTTP/1.01', (url) => `GET ${url} HTTP/1.01`, malformed()),
  line('http/1.1', (url) => `GET ${url} http/1.1`, malformed()),
  line('a version with a tail', (url) => `GET ${url} HTTP/1.1x`, malformed()),
  line('two spaces before the target', (url) => `GET  ${url} HTTP/1.1`, served('GET')),
  line('two spaces before the version', (url) => `GET ${url}  HTTP/1.1`, served('GET')),
  line('a tab before the target', (url) => `GET\t${url} HTTP/1.1`, malformed()),
  line('a tab before the version', (url) => `GET ${url}\tHTTP/1.1`, malformed()),
  line('a space in the target', (url) => `GET ${url} x HTTP/1.1`, malformed()),
  line('a NUL in the target', (url) => `GET ${url}\0 HTTP/1.1`, malformed()),
  line('a control byte in the target', (url) => `GET ${url}\x0b HTTP/1.1`, malformed()),
  line('a bare CR in the target', (url) => `GET ${url}\r HTTP/1.1`, malformed()),
  line('a bare LF after the line', (url) => `GET ${url} HTTP/1.1\nX: y`, malformed()),
  line('a bare CR after the line', (url) => `GET ${url} HTTP/1.1\rX: y`, malformed()),
  line('an unknown method', (url) => `BREW ${url} HTTP/1.1`, malformed()),
  line('a method in small letters', (url) => `get ${url} HTTP/1.1`, malformed()),
  line('a method with a NUL', (url) => `GE\0T ${url} HTTP/1.1`, malformed()),
  line('no method', (url) => ` ${url} HTTP/1.1`, malformed()),
  line('an empty line before', (url) => `\r\nGET ${url} HTTP/1.1`, served('GET')),
  line('a fragment', (url) => `GET ${url}#part HTTP/1.1`, refused(400)),
  line('a star for GET', () => 'GET * HTTP/1.1', refused(400)),
  line('a target of another form', () => 'GET origin.test HTTP/1.1', malformed()),
  line(
    'an encoded line break in the target',
    (url) => `GET ${url}%0d%0aX:%20y HTTP/1.1`,
    served('GET %0d%0aX:%20y'),
  ),
  line('an absolute URI of another scheme', () => `GET gopher://${HOST}/ HTTP/1.1`, refused(400)),
  line('an absolute URI without a host', () => 'GET http:///x HTTP/1.1', refused(400)),
  line('an absolute URI with one slash', () => `GET http:/${HOST}/ HTTP/1.1`, malformed()),
  line('TRACE', (url) => `TRACE ${url} HTTP/1.1`, served('TRACE')),
]

const authorities: readonly Row[] = [
  hosts('two Hosts that differ', (at) => `Host: ${at}\r\nHost: other.test\r\n`, refused(400)),
  hosts('two Hosts that agree', (at) => `Host: ${at}\r\nHost: ${at}\r\n`, refused(400)),
  hosts('a Host behind a folded line', (at) => `X: y\r\n Host: other.test\r\nHost: ${at}\r\n`, malformed()),
  hosts('no Host', () => '', malformed()),
  hosts('an empty Host', () => 'Host:\r\n', refused(400)),
  otherHost('another host', () => 'Host: other.test\r\n'),
  otherHost('another port', () => `Host: ${HOST}:1\r\n`),
  otherHost('no port', () => `Host: ${HOST}\r\n`),
  hosts('a port beyond 65535', (at) => `Host: ${at}0000\r\n`, refused(400)),
  hosts('a port of no digits', () => `Host: ${HOST}:x\r\n`, refused(400)),
  hosts('two ports', (at) => `Host: ${at}:80\r\n`, refused(400)),
  hosts('a user', (at) => `Host: user@${at}\r\n`, refused(400)),
  hosts('two hosts in a list', (at) => `Host: ${at}, other.test\r\n`, refused(400)),
  hosts('two hosts with a space between', (at) => `Host: ${at} other.test\r\n`, refused(400)),
  hosts('a path', (at) => `Host: ${at}/x\r\n`, refused(400)),
  hosts('a scheme', (at) => `Host: http://${at}\r\n`, refused(400)),
  hosts('a backslash', (at) => `Host: other.test\\${at}\r\n`, refused(400)),
  hosts('an encoded dot', (_at, port) => `Host: origin%2etest:${port}\r\n`, refused(400)),
  hosts('a NUL behind the name', (_at, port) => `Host: ${HOST}\0.other.test:${port}\r\n`, malformed()),
  hosts('a tab behind the name', (_at, port) => `Host: ${HOST}\t.other.test:${port}\r\n`, refused(400)),
  hosts('bytes that are no UTF-8', (_at, port) => `Host: origin\xff.test:${port}\r\n`, refused(400)),
  otherHost('an address for the name', (_at, port) => `Host: 127.0.0.1:${port}\r\n`),
  hosts(
    'the same in capitals with a dot at the end',
    (_at, port) => `Host: ORIGIN.Test.:${port}\r\n`,
    served('GET'),
  ),
  hosts(
    'the same in wide letters',
    (_at, port) => `Host: ${Buffer.from('ｏrigin.test').toString('latin1')}:${port}\r\n`,
    served('GET'),
  ),
  hosts('spaces around it', (at) => `Host:  \t${at} \t\r\n`, served('GET')),
  {
    what: 'an absolute URI of another host',
    send: ({ way, at, port }) =>
      `GET ${way === 'plain' || way === 'SOCKS' ? 'http' : 'https'}://other.test:${port}/ HTTP/1.1\r\nHost: ${at}\r\n\r\n`,
    expected: served('GET /'),
    inTunnel: refused(421),
  },
  {
    what: 'an absolute URI of another scheme than the connection has',
    send: ({ way, at }) =>
      `GET ${way === 'SOCKS' ? 'https' : 'http'}://${at}/ HTTP/1.1\r\nHost: ${at}\r\n\r\n`,
    expected: served('GET /'),
    inTunnel: refused(421),
  },
  {
    what: 'an absolute URI of the right host',
    send: ({ way, at, path }) =>
      `GET ${way === 'plain' || way === 'SOCKS' ? 'http' : 'https'}://${at}${path()} HTTP/1.1\r\nHost: ${at}\r\n\r\n`,
    expected: served('GET'),
  },
  {
    what: 'an absolute URI with a user',
    send: ({ way, at }) =>
      `GET ${way === 'plain' || way === 'SOCKS' ? 'http' : 'https'}://user:pw@${at}/ HTTP/1.1\r\nHost: ${at}\r\n\r\n`,
    expected: refused(400),
  },
  {
    what: 'an absolute URI with another host behind a backslash',
    send: ({ way, at }) =>
      `GET ${way === 'plain' || way === 'SOCKS' ? 'http' : 'https'}://other.test\\@${at}/ HTTP/1.1\r\nHost: ${at}\r\n\r\n`,
    expected: malformed(),
  },
  {
    what: 'an origin form that looks like an authority',
    send: ({ at }) => `GET //other.test/x HTTP/1.1\r\nHost: ${at}\r\n\r\n`,
    expected: refused(400),
    inTunnel: served('GET //other.test/x'),
  },
]

t.test('fields', (t) => runTable(t, fields))
t.test('request lines', (t) => runTable(t, lines))
t.test('authorities', (t) => runTable(t, authorities))
