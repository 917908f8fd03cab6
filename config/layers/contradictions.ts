import { ruleContradictions } from './cache-rules.js'
import type { HeaderRule } from '../model/config.js'
import type { Complaint } from '../yaml/problem.js'
import type { FileValues } from '../schema/file.js'
import { canonicalPattern } from '../schema/values.js'
import { quoteOption, type KeyPath, type YamlDocument } from '../yaml/yaml-document.js'

/** What a file says that cannot all be meant, though each value is right in itself. */
export function findContradictions(values: FileValues, document: YamlDocument): readonly Complaint[] {
  return [
    ...repeatedPatterns(Object.keys(values.headers ?? {}), document),
    ...Object.entries(values.headers ?? {}).flatMap(([pattern, rule]) =>
      repeatedHeaders(pattern, rule, document),
    ),
    ...ruleContradictions(values.cache?.rules ?? [], document),
    ...allowedAndBlocked('domains', values, document),
    ...allowedAndBlocked('ips', values, document),
  ]
}

function repeatedPatterns(patterns: readonly string[], document: YamlDocument): Complaint[] {
  const first = new Map<string, string>()
  return patterns.flatMap((pattern) => {
    const earlier = first.get(canonicalPattern(pattern))
    if (earlier === undefined) {
      first.set(canonicalPattern(pattern), pattern)
      return []
    }
    const { line } = document.keyMark(['headers', earlier])
    return complain(document, ['headers', pattern], `the same host pattern is in line ${line}`)
  })
}

function repeatedHeaders(pattern: string, rule: Partial<HeaderRule>, document: YamlDocument): Complaint[] {
  const first = new Map<string, KeyPath>()
  return (['set', 'append'] as const).flatMap((action) =>
    Object.keys(rule[action] ?? {}).flatMap((header) => {
      const path = ['headers', pattern, action, header]
      const earlier = first.get(header.toLowerCase())
      first.set(header.toLowerCase(), earlier ?? path)
      if (earlier === undefined) return []
      const { line } = document.keyMark(earlier)
      return complain(document, path, `the same header is under "${earlier[2]}" in line ${line}; keep one`)
    }),
  )
}

function allowedAndBlocked(key: 'domains' | 'ips', values: FileValues, document: YamlDocument): Complaint[] {
  const blocked = new Map<string, number>()
  for (const [index, entry] of (values.blocklist?.[key] ?? []).entries())
    if (!blocked.has(entry)) blocked.set(entry, index)
  return (values.allowlist?.[key] ?? []).flatMap((entry, index) => {
    const other = blocked.get(entry)
    if (other === undefined) return []
    const { line } = document.valueMark(['blocklist', key, other])
    const path = ['allowlist', key, index]
    const message = `option ${quoteOption(path)}: "${entry}" is on the blocklist too, in line ${line}; keep one`
    return [{ mark: document.valueMark(path), message }]
  })
}

function complain(document: YamlDocument, path: KeyPath, reason: string): Complaint[] {
  return [{ mark: document.keyMark(path), message: `option ${quoteOption(path)}: ${reason}` }]
}
