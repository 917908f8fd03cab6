/** What a secret may be called, here and in `${NAME}`; also what POSIX calls an environment variable. */
export const SECRET_NAME_PATTERN = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/

/** A header value in which `${NAME}` stands for a secret; `$${` is a literal `${`. */
export type TemplatePart =
  { readonly kind: 'text'; readonly text: string } | { readonly kind: 'secret'; readonly name: string }

/** The parts of a header value, or what is wrong with it as the end of a sentence about it. */
export function parseTemplate(value: string): readonly TemplatePart[] | string {
  const parts: TemplatePart[] = []
  let text = ''
  let from = 0
  for (const match of value.matchAll(/\$\$\{|\$\{([^}]*)(\}?)/g)) {
    const [written, name, end] = match
    text += value.slice(from, match.index)
    from = match.index + written.length
    if (name === undefined) {
      text += '${'
      continue
    }
    // What is between the braces is not quoted: it may be a secret written where its name belongs.
    if (end === '' || !SECRET_NAME_PATTERN.test(name)) {
      return 'has a "${" that begins no reference; write ${NAME}, or $${ for the characters themselves'
    }
    if (text !== '') parts.push({ kind: 'text', text })
    text = ''
    parts.push({ kind: 'secret', name })
  }
  text += value.slice(from)
  if (text !== '') parts.push({ kind: 'text', text })
  return parts
}

/** The secrets that a well-formed value refers to, each once. */
export function referencedSecrets(value: string): readonly string[] {
  const parts = parseTemplate(value)
  if (typeof parts === 'string') return []
  return [...new Set(parts.flatMap((part) => (part.kind === 'secret' ? [part.name] : [])))]
}
