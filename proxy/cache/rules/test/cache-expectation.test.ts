import { createServer, type AddressInfo, type Socket } from 'node:net'
import t from 'tap'
import { whyUnexpectedBody, whyUnexpectedType } from '../expectation.js'
import { get, startCached, until } from '../../../../test/lab/cache-front.js'
import { startRecorded } from '../../../../test/lab/origins/recording-origin.js'

// The promise: a rule that says "this never changes" keeps nothing for ever that is plainly not what it is for, nor a
// body of which nobody can tell whether it is whole.

const RULES = [
  { name: 'packages', match: { path: '\\.tgz$' }, expect: 'package' as const },
  { name: 'files', match: { path: '\\.pom$' }, expect: 'file' as const },
  { name: 'any', match: { path: '\\.any$' } },
]

t.test('what comes in the place of a package is passed on and asked for again', async (t) => {
  let answer: { readonly type?: string; readonly body: string | Buffer } = { body: '' }
  const { front, cache, asked } = await startRecorded(
    t,
    (_request, response) => {
      if (answer.type !== undefined) response.setHeader('Content-Type', answer.type)
      response.end(answer.body)
    },
    { section: { rules: RULES } },
  )
  const page = '\n<!-- portal -->\n<!DOCTYPE html><title>Please sign in</title>'
  const unfit: readonly (readonly [string, string | undefined, string])[] = [
    ['/x.tgz', 'text/html; charset=utf-8', page],
    ['/x.tgz', 'application/octet-stream', page],
    ['/x.tgz', undefined, '\ufeff<html><body>sign in'],
    ['/x.tgz', 'application/json', '{"error":"over quota"}'],
    ['/x.tgz', 'application/octet-stream', '{"error":"over quota"}'],
    ['/x.tgz', 'application/xml', '<?xml version="1.0"?><Error/>'],
    ['/x.tgz', 'application/octet-stream', '<?xml version="1.0"?><Error/>'],
    ['/x.tgz', 'application/octet-stream', ''],
    ['/x.pom', 'text/html', page],
    ['/x.pom', 'text/xml', page],
    ['/x.pom', 'text/xml', ''],
  ]
  for (const [path, type, body] of unfit) {
    answer = type === undefined ? { body } : { type, body }
    for (let round = 0; round < 2; round += 1) {
      const before = asked.length
      const got = await get(front.port, path)
      t.equal(got.body.toString(), body, 'the client has it')
      t.equal(asked.length, before + 1, `${type} ${body}`)
    }
  }
  t.equal(cache.stats().stores, 0)
  const fit: readonly (readonly [string, string, string | Buffer])[] = [
    ['/a.tgz', 'application/octet-stream', Buffer.from([0x1f, 0x8b, 8, 0])],
    // A server that does not know an extension calls it so.
    ['/b.tgz', 'text/plain', Buffer.from([0x1f, 0x8b, 8, 0])],
    ['/c.pom', 'text/xml', '<?xml version="1.0"?><project/>'],
    ['/d.pom', 'application/json', '{"Version":"v1.0.0"}'],
    ['/e.any', 'text/html', page],
  ]
  for (const [at, [path, type, body]] of fit.entries()) {
    answer = { type, body }
    t.equal((await get(front.port, path)).headers['x-cache'], 'MISS', path)
    await until(() => cache.stats().stores === at + 1)
    t.equal((await get(front.port, path)).headers['x-cache'], 'HIT', path)
  }
})

t.test('a page is known by its beginning, in pieces of any size', async (t) => {
  for (const start of ['<html', '<!doctype HTML>', ' <HEAD>', '<!-- a --> <!-- b -->\n<body >'])
    t.ok(whyUnexpectedBody('file', Buffer.from(`${start} x`)), start)
  for (const start of ['<?xml?>', '<project>', 'html', '<htmlx>', '#!/bin/sh', '<!-- '.repeat(100)])
    t.equal(whyUnexpectedBody('file', Buffer.from(start)), undefined, start)
  t.ok(whyUnexpectedType('package', ['content-type', 'application/vnd.api+json']))
  t.equal(whyUnexpectedType('package', []), undefined)
  const { front, cache } = await startRecorded(
    t,
    (_request, response) => {
      for (const piece of '<!doctype html>sign in') response.write(piece)
      response.end()
    },
    { section: { rules: RULES } },
  )
  t.equal((await get(front.port, '/x.tgz')).body.toString(), '<!doctype html>sign in')
  t.equal((await get(front.port, '/x.tgz')).headers['x-cache'], 'MISS')
  t.equal(cache.stats().stores, 0)
})

t.test('a body that ends with its connection is kept only under its digest', async (t) => {
  const sockets = new Set<Socket>()
  let asked = 0
  const origin = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.once('data', () => {
      asked += 1
      socket.end('HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\r\ncontent')
    })
  })
  await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    origin.close()
  })
  const { port } = origin.address() as AddressInfo
  const { front, cache } = await startCached(t, port, { section: { rules: RULES } })
  for (const path of ['/plain/x', '/x.tgz', '/x.any']) {
    for (let round = 0; round < 2; round += 1) {
      const before = asked
      t.equal((await get(front.port, path)).body.toString(), 'content')
      t.equal(asked, before + 1, path)
    }
  }
  t.equal(cache.stats().stores, 0)
  // sha256 of `content`
  const blob = '/v2/a/blobs/sha256:ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73'
  await get(front.port, blob)
  await until(() => cache.stats().stores === 1)
  t.equal((await get(front.port, blob)).headers['x-cache'], 'HIT')
})
