import { REDACTED } from '../../../config/compose/redact.js'

/**
 * A key as anybody may see it: of a query only the names, for values may be signatures or tokens. What stands there
 * without a name may be one as well.
 */
export function shownKey(key: string): string {
  const question = key.indexOf('?')
  if (question === -1) return key
  const shown = key
    .slice(question + 1)
    .split('&')
    // Base64 may end in `=`, so only what has something behind it is a name.
    .map((part) => (/^[^=]+=[^=]/.test(part) ? `${part.split('=', 1)[0]}=${REDACTED}` : REDACTED))
  return `${key.slice(0, question)}?${shown.join('&')}`
}
