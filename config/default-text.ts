import { readFileSync } from 'node:fs'

/**
 * The text of the shipped `default.yaml`. It is alone in this file so that a bundler, whose output has no
 * such file next to it, can replace the module by one that holds the text.
 */
export function readDefault(): string {
  return readFileSync(new URL('./default.yaml', import.meta.url), 'utf8')
}
