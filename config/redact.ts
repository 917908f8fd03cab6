import type { Config, HeaderRule } from './config.js'

/** Stands where a value is not for everybody. */
export const REDACTED = '[redacted]'

/**
 * The configuration as anybody on this machine may see it. The values of header rules are secrets more often
 * than not, so none is shown; names are.
 */
export function redactConfig(config: Config): unknown {
  const headers = Object.entries(config.headers).map(([pattern, rule]) => [pattern, redactRule(rule)])
  return { ...config, headers: Object.fromEntries(headers) as unknown }
}

function redactRule({ set, append, conditions }: HeaderRule): unknown {
  return {
    set: redactValues(set),
    append: redactValues(append),
    conditions: conditions.map(({ header }) => ({ header, equals: REDACTED })),
  }
}

function redactValues(fields: Readonly<Record<string, string>>): unknown {
  return Object.fromEntries(Object.keys(fields).map((name) => [name, REDACTED]))
}
