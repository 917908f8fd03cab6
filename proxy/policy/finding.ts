import type { KeyPath } from '../../config/yaml/yaml-document.js'

/** Why something may not be reached. */
export interface Finding {
  /** Where the configuration says so (`['rules', 2]`); empty for what is always refused. */
  readonly option: KeyPath
  /** The end of the sentence "HOST may not be reached: …". */
  readonly reason: string
}

/** `rules[2]`, as a person looks it up in the file; `built in` for what no file says. */
export function optionName(option: KeyPath): string {
  if (option.length === 0) return 'built in'
  return option
    .map((part, at) => (typeof part === 'number' ? `[${part}]` : at === 0 ? part : `.${part}`))
    .join('')
}
