/** JSON Schema 2020-12, as OpenAPI 3.1 has it. */
export type JsonSchema = Readonly<Record<string, unknown>>

/** An object with all of `properties`, and perhaps those of `optional`. */
export function objectOf(
  properties: Readonly<Record<string, JsonSchema>>,
  optional: Readonly<Record<string, JsonSchema>> = {},
): JsonSchema {
  return { type: 'object', required: Object.keys(properties), properties: { ...properties, ...optional } }
}

export function listOf(items: JsonSchema): JsonSchema {
  return { type: 'array', items }
}

/** A schema that the document has under a name of its own. */
export function shape(name: string): JsonSchema {
  return { $ref: `#/components/schemas/${name}` }
}

export const TEXT: JsonSchema = { type: 'string' }
export const COUNT: JsonSchema = { type: 'integer', minimum: 0 }
