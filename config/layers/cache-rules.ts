import type { CacheRule } from '../model/config.js'
import type { Complaint } from '../yaml/problem.js'
import { quoteOption, type YamlDocument } from '../yaml/yaml-document.js'

/** The rules of `default.yaml`, which files may change by name without saying again what they match. */
export const SHIPPED_RULES: readonly string[] = [
  'npm',
  'pypi',
  'crates',
  'crates-download',
  'go',
  'debian',
  'debian-by-hash',
  'rubygems',
  'maven',
  'composer',
  'elpa',
  'luarocks',
  'cpan',
  'github-releases',
]

/** Rules are put together by name, key by key; those of the first list come first, and count first. */
export function mergeRules(lists: readonly (readonly CacheRule[])[]): readonly CacheRule[] {
  const byName = new Map<string, CacheRule>()
  for (const rule of lists.flat()) byName.set(rule.name, { ...rule, ...byName.get(rule.name) })
  return [...byName.values()]
}

/** What is wrong with the rules of one file, though each value is right in itself. */
export function ruleContradictions(rules: readonly CacheRule[], document: YamlDocument): Complaint[] {
  const first = new Map<string, number>()
  return rules.flatMap(({ name, match }, index): Complaint[] => {
    const path = ['cache', 'rules', index, 'name']
    const earlier = first.get(name)
    if (earlier !== undefined) {
      const { line } = document.valueMark(['cache', 'rules', earlier, 'name'])
      return [complaint(document, path, `the same name is in line ${line}`)]
    }
    first.set(name, index)
    if (match !== undefined || SHIPPED_RULES.includes(name)) return []
    const shipped = SHIPPED_RULES.join(', ')
    return [
      complaint(
        document,
        path,
        `a rule of your own needs match: { path: … }; only ${shipped} have one already`,
      ),
    ]
  })
}

function complaint(document: YamlDocument, path: readonly (string | number)[], reason: string): Complaint {
  return { mark: document.valueMark(path), message: `option ${quoteOption(path)}: ${reason}` }
}
