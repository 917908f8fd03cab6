import type { CacheSection } from '../../../config/model/config.js'
import type { FillOptions } from '../fill/fill.js'
import { compileRules, type CacheRules } from '../rules/rules.js'

/** The part of the configuration that each request reads. */
export interface CacheSettings {
  readonly rules: CacheRules
  /** Upstream is asked for nothing. */
  readonly offline: boolean
  /** What took credentials to fetch is served only to those whose own ones upstream accepts. */
  readonly confirmsAccess: boolean
  /** Milliseconds past the time to live. */
  readonly staleIfErrorMs: number
  readonly goesOnUnread: FillOptions['goesOnUnread']
}

export function compileCacheSettings(section: CacheSection): CacheSettings {
  const { enabled } = section
  return {
    // Switched off, it keeps what it has and gives nothing out.
    rules: compileRules(enabled ? section : { ...section, patterns: [], rules: [] }),
    offline: enabled && section.offline,
    confirmsAccess: section.authorization === 'revalidate',
    staleIfErrorMs: section.stale_if_error,
    goesOnUnread: unreadRule(section),
  }
}

/** When a fill goes on that nobody reads: see `cache.fill`. A share of an unknown length is never reached. */
function unreadRule({ fill, fill_share: share }: CacheSection): FillOptions['goesOnUnread'] {
  switch (fill) {
    case 'always':
      return () => true
    case 'share':
      return (received, total) => total !== undefined && received >= total * (share / 100)
    case 'readers':
      return () => false
  }
}
