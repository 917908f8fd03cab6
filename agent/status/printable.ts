/**
 * Text fit for one line of a terminal: what services and remote ends say is quoted in reasons, and must not
 * move the cursor, change colours or start a new row.
 */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ').trim()
}
