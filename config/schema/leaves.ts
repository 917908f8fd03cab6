import type { FileValues } from './file.js'

/**
 * Name of each value that a file can hold, down to the last: `cache.max_size`, `headers.*.set.*`, `rules[].ports`.
 * A list of plain values is one; `[]` stands for the items of any other list, `*` for the names somebody chooses.
 */
export type LeafName = NamesIn<FileValues>

type NamesIn<T> = { [K in keyof T & string]-?: NamesBelow<NonNullable<T[K]>, K> }[keyof T & string]

type NamesBelow<T, Name extends string> = T extends readonly (infer Item)[]
  ? Item extends object
    ? NamesBelow<Item, `${Name}[]`>
    : Name
  : T extends object
    ? string extends keyof T
      ? NamesBelow<NonNullable<T[keyof T]>, `${Name}.*`>
      : { [K in keyof T & string]-?: NamesBelow<NonNullable<T[K]>, `${Name}.${K}`> }[keyof T & string]
    : Name
