import { toJsonSchema } from '@valibot/to-json-schema'
import { Validator } from '@seriousme/openapi-schema-validator'
import t from 'tap'
import { operationsOf, tableBelow, type Document } from '../../../test/lab/documented.js'
import { silentLogger } from '../../../base/log/logger.js'
import { EXEC_BODY, EXEC_SCHEMA } from '../command/exec-request.js'
import { routeTable } from '../routes/table.js'
import { readSettings } from '../settings/settings.js'
import { ask, startApi } from '../../../test/lab/api-process.js'

t.test('/openapi.json is valid OpenAPI 3.1 and has every route that is served, and no other', async (t) => {
  const api = await startApi(t)
  const answer = await ask(api.port, '/openapi.json')
  t.equal(answer.status, 200)
  const document = JSON.parse(answer.body) as Document
  const validator = new Validator()
  t.same(await validator.validate({ ...structuredClone(document) }), { valid: true })
  t.equal(validator.version, '3.1')
  t.match(document.info.version, /^\d+\.\d+\.\d+/)

  const operations = operationsOf(document)
  const described = operations.map(({ request }) => request)
  const served = routeTable(readSettings({ env: {}, cwd: '/' }), '0', silentLogger).map(
    ({ method, path }) => `${method} ${path}`,
  )
  t.same(described.sort(), served.sort())

  const names = operations.map(({ operationId }) => operationId)
  t.equal(new Set(names).size, names.length, 'each operation has a name of its own')
  for (const { responses, operationId } of operations) {
    for (const [status, { content }] of Object.entries(responses)) {
      if (Number(status) >= 400)
        t.same(Object.keys(content ?? {}), ['application/problem+json'], `${operationId} ${status}`)
    }
  }

  // Of every route, so the table leaves them out.
  const common = ['400', '401', '403', '421', '500']
  const answers = operations.map(({ request, responses }) => [
    request,
    Object.keys(responses)
      .filter((status) => !common.includes(status))
      .join(', '),
  ])
  const table = tableBelow('agent-api.md', '# The agent API')
  t.strictSame(
    table.map(([request = '', told]) => [request, told]),
    answers,
    'docs/agent-api.md says the same',
  )
})

t.test('each operation answers as it says: parameters, bodies and methods that are not there', async (t) => {
  const api = await startApi(t, { DISCOBOT_WORKSPACE_PATH: t.testdir() })
  const { paths } = JSON.parse((await ask(api.port, '/openapi.json')).body) as Document
  for (const [template, methods] of Object.entries(paths)) {
    const path = template.replaceAll(/\{\w+\}/g, 'x')
    for (const [method, operation] of Object.entries(methods)) {
      const name = `${method} ${template}`
      const bad = await ask(api.port, `${path}?no-such-parameter=1`, { method: method.toUpperCase() })
      t.match(JSON.parse(bad.body), { status: 400, detail: /no-such-parameter.* not known/ }, name)
      const required = operation.parameters.filter((one) => one.in === 'query' && one.required)
      if (required.length > 0) {
        const missing = await ask(api.port, path, { method: method.toUpperCase() })
        t.match(JSON.parse(missing.body), { status: 400, detail: /is missing/ }, name)
      }
      if (operation.requestBody === undefined) {
        const asking = { method: method.toUpperCase(), headers: { 'content-length': '7' }, body: 'unasked' }
        const body = await ask(api.port, path, asking)
        t.match(JSON.parse(body.body), { status: 400, detail: /takes no body/ }, name)
      }
    }
    const other = ['GET', 'PUT', 'POST', 'DELETE'].find((method) => !(method.toLowerCase() in methods)) ?? ''
    const answer = await ask(api.port, path, { method: other })
    t.equal(answer.status, 405, `${other} ${path}`)
    const allowed = Object.keys(methods).map((method) => method.toUpperCase())
    t.same(
      answer.headers.allow
        ?.split(', ')
        .filter((method) => method !== 'HEAD')
        .sort(),
      allowed.sort(),
    )
  }
})

t.test('what the document says of the body of exec is what is checked', async (t) => {
  const checked = toJsonSchema(EXEC_BODY, { errorMode: 'ignore' })
  const told = EXEC_SCHEMA['properties'] as Record<string, Record<string, unknown>>
  t.same(Object.keys(told).sort(), Object.keys(checked.properties ?? {}).sort())
  for (const [name, schema] of Object.entries(checked.properties ?? {})) {
    if (typeof schema === 'boolean') continue
    for (const key of ['type', 'minimum', 'maximum', 'minItems', 'minLength', 'default'] as const) {
      if (name === 'env' && key === 'default') continue
      t.same(told[name]?.[key], schema[key], `${key} of ${name}`)
    }
  }
})
