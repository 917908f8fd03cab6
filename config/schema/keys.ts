import * as v from 'valibot'

// What every section is made of. A message ends the sentence "value X …"; a description is for editors.

export function optional<const Schema extends v.GenericSchema>(schema: Schema, description: string) {
  return v.exactOptional(described(schema, description))
}

export function described<const Schema extends v.GenericSchema>(schema: Schema, description: string) {
  return v.pipe(schema, v.description(description))
}

export function list<const Item extends v.GenericSchema>(item: Item) {
  return v.array(item, 'is not a list; write [] for an empty one')
}

/** A condition that was emptied would match everything. */
export function anyOf<const Item extends v.GenericSchema>(item: Item) {
  return v.pipe(list(item), v.minLength(1, 'is empty; remove the key where anything may match'))
}

/** A key with nothing but comments below it is an empty mapping. */
export function mapping<const Schema extends v.GenericSchema<object, object>>(schema: Schema) {
  return v.nullable(schema, () => ({}) as v.InferInput<Schema>)
}

export function judged(complaint: (value: string) => string | undefined): v.RawCheckAction<string> {
  return v.rawCheck(({ dataset, addIssue }) => {
    const message = dataset.typed ? complaint(dataset.value) : undefined
    if (message !== undefined) addIssue({ message })
  })
}

export function onlyComplaint(parsed: object | string): string | undefined {
  return typeof parsed === 'string' ? parsed : undefined
}

export const NOT_A_MAPPING = 'is not a mapping; write its keys indented below it'
