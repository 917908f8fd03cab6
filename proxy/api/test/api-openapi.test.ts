import { Validator } from '@seriousme/openapi-schema-validator'
import t from 'tap'
import { operationsOf, tableBelow, type Document } from '../../../test/lab/documented.js'
import { folder, json, start } from '../../../test/lab/program.js'

// The proxy API's description is valid, describes each route, and says the same as the pages that people read.

/** Of every route, so the tables leave them out. */
const COMMON = ['400', '401', '403', '500']

t.test('/openapi.json is valid OpenAPI 3.1, and the table of docs/proxy-api.md says the same', async (t) => {
  const program = await start(t, folder(t), {})
  const document = (await json(`http://127.0.0.1:${program.apiPort}/openapi.json`)) as unknown as Document
  const validator = new Validator()
  t.same(await validator.validate({ ...structuredClone(document) }), { valid: true })
  t.equal(validator.version, '3.1')
  t.match(document.info.version, /^\d+\.\d+\.\d+/)

  const text = JSON.stringify(document)
  const named = new Set([...text.matchAll(/"#\/components\/schemas\/(\w+)"/g)].map((match) => match[1]))
  t.strictSame([...named].sort(), Object.keys(document.components.schemas).sort(), 'each name has its shape')

  const operations = operationsOf(document)
  const names = operations.map(({ operationId }) => operationId)
  t.equal(new Set(names).size, names.length, 'each operation has a name of its own')
  for (const { responses, request } of operations) {
    for (const [status, { content }] of Object.entries(responses)) {
      if (Number(status) >= 400)
        t.same(Object.keys(content ?? {}), ['application/json'], `${request} ${status}`)
    }
  }

  const served = operations.map(({ request, security, responses }) => [
    request,
    security.map((one) => Object.keys(one)[0] ?? 'nothing').join(' or ') || 'nothing',
    Object.keys(responses)
      .filter((status) => !COMMON.includes(status))
      .join(', '),
  ])
  t.strictSame(
    tableBelow('proxy-api.md', '## Routes').map((row) => row.slice(0, 3)),
    served,
  )

  const told = new Set(operations.flatMap(({ responses }) => Object.keys(responses)))
  const rows = tableBelow('errors.md', '## What the API on 17081 answers')
  const explained = rows.flatMap(([statuses = '']) => statuses.split(', '))
  // What is at no path has no operation.
  t.strictSame(
    explained.filter((status) => status !== '405').sort(),
    [...told].filter((status) => Number(status) >= 400).sort(),
  )
})

t.test('each operation refuses a query parameter that it does not describe', async (t) => {
  const program = await start(t, folder(t), {})
  const api = `http://127.0.0.1:${program.apiPort}`
  const document = (await json(`${api}/openapi.json`)) as unknown as Document
  for (const { request, security } of operationsOf(document)) {
    const [method = '', path = ''] = request.split(' ')
    const answer = await fetch(`${api}${path}?no-such-parameter=1`, { method })
    const needsToken = security.length > 0 && security.every((one) => 'token' in one)
    t.equal(answer.status, needsToken ? 401 : 400, request)
    t.match(
      await answer.json(),
      { error: needsToken ? /token/ : /"no-such-parameter" is not known/ },
      request,
    )
  }
})
