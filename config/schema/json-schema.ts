import { toJsonSchema } from '@valibot/to-json-schema'
import { fileSchema } from './file.js'

/**
 * The JSON schema of a configuration file, for editors; kept as `config/schema.json`. It is made while
 * building and testing only: the package it needs is not there at run time.
 */
export function configJsonSchema(): object {
  const schema = toJsonSchema(fileSchema, {
    typeMode: 'input',
    // Checks written as code have no form in JSON schema; the loader makes them.
    errorMode: 'ignore',
    overrideSchema: ({ jsonSchema, valibotSchema }) =>
      valibotSchema.type === 'nullable' ? withoutDefault(jsonSchema) : undefined,
  })
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'Discobot proxy configuration',
    ...schema,
  }
}

/** `null` stands for a key with only comments below it: nothing that an editor should offer to write. */
function withoutDefault({ default: _, ...schema }: { readonly default?: unknown }): object {
  return schema
}
