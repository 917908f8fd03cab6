import { createHash } from 'node:crypto'
import t from 'tap'
import { FORGE_HOST_KEYS } from '../known-hosts.js'
import { parseSource, requireRef, WorkspaceSourceError } from '../source.js'
import { maskSecrets } from '../../settings/secret.js'

void t.test('URLs, remote paths and directories are told apart as git does', (t) => {
  const git = (transport: string, url: string, host: string): object => ({
    kind: 'git',
    transport,
    url,
    host,
  })
  const table: readonly (readonly [string, object])[] = [
    ['https://example.com/a/b.git', git('https', 'https://example.com/a/b.git', 'example.com')],
    ['HTTPS://Example.com:8443/a', git('https', 'https://example.com:8443/a', 'example.com:8443')],
    ['http://127.0.0.1:8000/a', git('http', 'http://127.0.0.1:8000/a', '127.0.0.1:8000')],
    ['ssh://git@example.com:2222/a.git', git('ssh', 'ssh://git@example.com:2222/a.git', 'example.com:2222')],
    ['git@github.com:a/b.git', git('ssh', 'git@github.com:a/b.git', 'github.com')],
    ['host:path', git('ssh', 'host:path', 'host')],
    ['file:///srv/a%20b.git', git('file', 'file:///srv/a%20b.git', '')],
    ['/srv/project', { kind: 'directory', path: '/srv/project' }],
    ['./a:b', { kind: 'directory', path: '/cwd/a:b' }],
    ['../project', { kind: 'directory', path: '/project' }],
    ['project', { kind: 'directory', path: '/cwd/project' }],
    ['a/b:c', { kind: 'directory', path: '/cwd/a/b:c' }],
  ]
  for (const [text, expected] of table) t.strictSame(parseSource(text, '/cwd'), expected, text)
  t.end()
})

void t.test('a secret in the URL is taken out of what is stored and shown', (t) => {
  const table: readonly (readonly [string, object | undefined])[] = [
    ['https://ada:s3cr%2Ft@example.com/a', { username: 'ada', password: 's3cr/t' }],
    ['https://ghp_token@example.com/a', { username: 'ghp_token', password: '' }],
    ['https://example.com/a', undefined],
  ]
  for (const [text, credentials] of table) {
    const source = parseSource(text, '/')
    t.equal(source.kind === 'git' ? source.url : '', 'https://example.com/a')
    t.strictSame(source.kind === 'git' ? source.credentials : '', credentials)
  }
  const overSsh = parseSource('ssh://git:pass@example.com/a', '/')
  t.equal(overSsh.kind === 'git' ? overSsh.url : '', 'ssh://git@example.com/a')
  t.end()
})

void t.test('what could run a command or pass for an option is refused, and never repeated', (t) => {
  const table: readonly (readonly [string, RegExp])[] = [
    ['--upload-pack=touch /tmp/x', /begins with "-"/],
    ['-oProxyCommand=x:y', /begins with "-"/],
    ['ext::sh -c hush', /run commands/],
    ['fd::17', /run commands/],
    ['ssh://-oProxyCommand=hush/x', /not a valid URL|names no host/],
    ['-hush:path', /begins with "-"/],
    ['git@-oProxyCommand=hush:path', /names no host/],
    ['host:-hush', /a part of it begins/],
    ['git://example.com/hush', /"git" is not a transport/],
    ['ftp://hush@example.com/', /"ftp" is not a transport/],
    ['https://', /not a valid URL/],
    ['file://host/hush', /three slashes/],
    ['https://example.com/\nhush', /control characters/],
    ['a\u0000hush', /control characters/],
  ]
  for (const [text, reason] of table) {
    t.throws(
      () => parseSource(text, '/'),
      { code: 'WORKSPACE_SOURCE_INVALID', message: reason },
      JSON.stringify(text),
    )
    try {
      parseSource(text, '/')
    } catch (error) {
      t.notMatch(String(error), /hush/)
    }
  }
  t.end()
})

void t.test('a ref is a name, never an option or an expression', (t) => {
  for (const ref of ['main', 'feature/a-b', 'v1.0', 'refs/pull/7/head', '1a2b3c4', 'ünïcode']) {
    t.equal(requireRef(ref), ref)
  }
  const bad = [
    '-b',
    '--upload-pack=x',
    'a b',
    'a..b',
    'a~1',
    'a^',
    'a:b',
    'a?',
    '*',
    'a[',
    'a\\b',
    '@',
    'a@{1}',
  ]
  for (const ref of [
    ...bad,
    '/a',
    'a/',
    'a//b',
    '.a',
    'a/.b',
    'a.',
    'a.lock',
    'a.lock/b',
    'a\nb',
    'a'.repeat(256),
  ]) {
    t.throws(() => requireRef(ref), WorkspaceSourceError, JSON.stringify(ref))
  }
  t.end()
})

void t.test('the pinned host keys have the fingerprints their owners publish', (t) => {
  const published: Readonly<Record<string, string>> = {
    'github.com': '+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU',
    'gitlab.com': 'eUXGGm1YGsMAS7vkcx6JOJdOGHPem5gQp4taiCfCLB8',
    'bitbucket.org': 'ybgmFkzwOSotHTHLJgHO0QN8L0xErw6vd0VhFA9m3SM',
    'codeberg.org': 'mIlxA9k46MmM6qdJOdMnAQpzGxF4WIVVL+fj+wZbw0g',
  }
  for (const [host, key] of Object.entries(FORGE_HOST_KEYS)) {
    const digest = createHash('sha256')
      .update(Buffer.from(key.split(' ')[1] ?? '', 'base64'))
      .digest('base64')
    t.equal(digest.replace(/=+$/, ''), published[host], host)
  }
  t.end()
})

void t.test('secrets are masked in every form in which they come back', (t) => {
  const secret = 'p@ss/wörd'
  const shown = maskSecrets(
    `${secret} ${encodeURIComponent(secret)} ${Buffer.from(secret).toString('base64')} https://u:x@host/ https://host/a@b`,
    [secret],
  )
  t.equal(shown.replace(/\*\*\*=*/g, '***'), '*** *** *** https://***@host/ https://host/a@b')
  t.end()
})
