const MASK = '***'

/**
 * Takes every secret out of a text that is about to be shown, also in the forms in which git and its servers
 * repeat them (percent-encoded, Basic credentials). Secrets shorter than 4 characters are taken as they are
 * only: masking them everywhere would make any text unreadable and reveal them by their places.
 */
export function maskSecrets(text: string, secrets: readonly string[]): string {
  const forms = secrets.flatMap((secret) => [secret, encodeURIComponent(secret), base64(secret)])
  const longestFirst = [...new Set(forms)]
    .filter((form) => form.length >= 4)
    .sort((a, b) => b.length - a.length)
  return longestFirst.reduce((masked, form) => masked.replaceAll(form, MASK), maskUserinfo(text))
}

function base64(secret: string): string {
  return Buffer.from(secret).toString('base64').replace(/=+$/, '')
}

/** `https://user:secret@host` → `https://***@host`, wherever it stands in the text. */
function maskUserinfo(text: string): string {
  return text.replace(/\b(https?:\/\/)[^\s/@'"]+@/gi, `$1${MASK}@`)
}
