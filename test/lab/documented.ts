import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** One operation of an OpenAPI document. */
interface Operation {
  /** `GET /path/{name}`. */
  readonly request: string
  readonly operationId: string
  readonly parameters: readonly { readonly name: string; readonly in: string; readonly required: boolean }[]
  readonly requestBody?: { readonly content: object }
  readonly responses: Readonly<Record<string, { readonly content?: object }>>
  /** Alternatives; an empty one is "nothing". */
  readonly security: readonly object[]
}

export interface Document {
  readonly openapi: string
  readonly info: { readonly version: string }
  readonly components: { readonly schemas: object }
  readonly paths: Readonly<Record<string, Readonly<Record<string, Omit<Operation, 'request'>>>>>
}

export function operationsOf({ paths }: Document): Operation[] {
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      request: `${method.toUpperCase()} ${path}`,
      ...operation,
    })),
  )
}

/** Media types that the document gives for a status of what is asked; undefined where it does not have the status. */
export function documentedTypes(document: Document, request: string, status: number): string[] | undefined {
  const [asked = '', url = ''] = request.split(' ')
  const method = asked === 'HEAD' ? 'GET' : asked
  const found = operationsOf(document).find(({ request: known }) => {
    const [knownMethod, template = ''] = known.split(' ')
    const pattern = new RegExp(`^${template.replaceAll(/\{\w+\}/g, '[^/]+')}$`)
    return knownMethod === method && pattern.test(url.split('?', 1)[0] ?? '')
  })
  const response = found?.responses[status]
  return response === undefined ? undefined : Object.keys(response.content ?? {})
}

/** Cells of the rows of the first table below `heading` in a page of docs/, without backquotes. */
export function tableBelow(page: string, heading: string): string[][] {
  const text = `\n${readFileSync(join(process.cwd(), 'docs', page), 'utf8')}`
  const section = text.slice(text.indexOf(`\n${heading}\n`))
  const lines = section.slice(section.indexOf('\n| ') + 1).split('\n')
  const end = lines.findIndex((line) => !line.startsWith('|'))
  // The first two are the heads of the columns and a rule.
  return lines.slice(2, end).map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim().replaceAll('`', '')),
  )
}
