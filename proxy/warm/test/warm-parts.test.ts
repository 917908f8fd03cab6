import t from 'tap'
import { parseImageReference } from '../../../base/oci/image-reference.js'
import { Progress, summary } from '../../cli/progress.js'
import type { ItemReport, JobReport } from '../prewarm-job.js'

// The promise: names are read as Docker reads them, and a person sees what goes on.

void t.test('names of images', (t) => {
  const read = (text: string): string => {
    const { scheme, registry, repository, reference } = parseImageReference(text)
    return `${scheme}://${registry.authority} ${repository} ${reference}`
  }
  const digest = `sha256:${'a'.repeat(64)}`
  const good: Readonly<Record<string, string>> = {
    alpine: 'https://registry-1.docker.io:443 library/alpine latest',
    'alpine:3.20': 'https://registry-1.docker.io:443 library/alpine 3.20',
    'docker.io/alpine': 'https://registry-1.docker.io:443 library/alpine latest',
    'team/app:v1': 'https://registry-1.docker.io:443 team/app v1',
    [`alpine:3@${digest}`]: `https://registry-1.docker.io:443 library/alpine ${digest}`,
    'ghcr.io/a/b/c:x': 'https://ghcr.io:443 a/b/c x',
    'Registry.Example.COM:5000/app': 'https://registry.example.com:5000 app latest',
    'localhost/app': 'http://localhost:80 app latest',
    'localhost:5000/app:1': 'http://localhost:5000 app 1',
    '127.0.0.1:5000/app': 'http://127.0.0.1:5000 app latest',
    '[::1]:5000/app': 'http://[::1]:5000 app latest',
    '10.0.0.7/app': 'https://10.0.0.7:443 app latest',
  }
  for (const [text, expected] of Object.entries(good)) t.equal(read(text), expected, text)
  const bad = [
    '',
    ':',
    '@',
    'UPPER',
    'a//b',
    '/a',
    'a/',
    'a:',
    'a:b:c',
    'a@sha256:abc',
    'a@b@c',
    'a b',
    'a?b',
    'a/../b',
  ]
  bad.push(
    'ex ample.com/app',
    'host:99999/app',
    `a${'/a'.repeat(200)}`,
    'a\r\nb',
    '-a',
    `a:${'t'.repeat(129)}`,
  )
  for (const text of bad) t.throws(() => parseImageReference(text), { code: 'WARM_REFERENCE_INVALID' }, text)
  t.end()
})

void t.test('a terminal sees each thing once and a bar that fits; a file sees no escapes', (t) => {
  const item = (name: string, state: ItemReport['state'], received: number): ItemReport => ({
    kind: 'layer',
    name,
    state,
    size: 1_000_000,
    received,
  })
  const report = (state: JobReport['state'], ...items: ItemReport[]): JobReport => ({
    id: 'x',
    state,
    references: [{ reference: 'alpine:3', state: 'fetching', items }],
  })
  const shown = (isTTY: boolean): string => {
    let [text, now] = ['', 0]
    const progress = new Progress({ isTTY, columns: 60, write: (more) => void (text += more) }, () => now)
    progress.show(report('running', item('sha256:a', 'fetching', 500_000), item('sha256:b', 'waiting', 0)))
    now = 1000
    progress.show(report('running', item('sha256:a', 'fetched', 1_000_000), item('sha256:b', 'fetching', 0)))
    progress.show(
      report('done', item('sha256:a', 'fetched', 1_000_000), item('sha256:b', 'stored', 1_000_000)),
    )
    return text
  }
  const onTerminal = shown(true)
  t.match(onTerminal, '[######                  ]  25 %  500.0 kB of 2.0 MB')
  t.match(onTerminal, '[############            ]  50 %')
  t.equal(onTerminal.split('sha256:a').length, 2)
  for (const line of onTerminal.split(/[\r\n]/))
    if (line.includes('[#')) t.ok(line.replace('\u001b[2K', '').length < 60)
  const inFile = shown(false)
  t.notMatch(inFile, /[\r\u001b]/)
  t.strictSame(
    inFile.split('\n').map((line) => line.trim().split(/ +/).at(-1)),
    ['alpine:3', 'fetched', 'already', ''],
  )
  t.equal(
    summary(report('failed', item('a', 'fetched', 1_500), item('b', 'failed', 1))),
    'failed: 1 fetched (1.5 kB), 1 failed (1 B)',
  )
  t.end()
})
