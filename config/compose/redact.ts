import type { Config, HeaderRule } from '../model/config.js'
import { parseTemplate } from '../model/secret-template.js'

/** Stands where a value is not for everybody. */
export const REDACTED = '[redacted]'

/**
 * The configuration as it may be shown to anybody who can ask for it: no header value, no credentials, and
 * nothing about where a secret comes from. Names, host patterns and placeholders stay, as does which secret a value refers to.
 */
export function redactConfig(config: Config): Config {
  return {
    ...config,
    proxy: {
      ...config.proxy,
      auth: {
        ...config.proxy.auth,
        user: config.proxy.auth.user && REDACTED,
        password: config.proxy.auth.password && REDACTED,
      },
    },
    upstream_proxy: { ...config.upstream_proxy, url: withoutCredentials(config.upstream_proxy.url) },
    secrets: mapValues(config.secrets, ({ env, file, ...secret }) => ({
      ...secret,
      ...(env === undefined ? {} : { env: REDACTED }),
      ...(file === undefined ? {} : { file: REDACTED }),
    })),
    headers: mapValues(config.headers, ({ set, append, conditions, insecure }): HeaderRule => ({
      set: mapValues(set, redactValue),
      append: mapValues(append, redactValue),
      conditions: conditions.map(({ header }) => ({ header, equals: REDACTED })),
      insecure,
    })),
  }
}

/** Which proxy it is may be known, who we are there may not. */
function withoutCredentials(url: string): string {
  return url.replace(/\/\/[^@/]*@/, `//${REDACTED}@`)
}

/** `Bearer ${NAME}` says no more than which secret is meant; whatever else is written out may be one itself. */
function redactValue(value: string): string {
  const parts = parseTemplate(value)
  if (typeof parts === 'string') return REDACTED
  const [scheme, secret] = parts.length === 1 ? [undefined, parts[0]] : parts
  const isPlain = parts.length <= 2 && (scheme === undefined || isScheme(scheme))
  return isPlain && secret?.kind === 'secret' ? value : REDACTED
}

function isScheme(part: { readonly kind: string; readonly text?: string }): boolean {
  return part.kind === 'text' && /^(Bearer|Basic|Token) $/i.test(part.text ?? '')
}

function mapValues<From, To>(
  record: Readonly<Record<string, From>>,
  change: (value: From) => To,
): Record<string, To> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value)]))
}
