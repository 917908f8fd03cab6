/** Servers that decode more often than this are nobody's. */
const MAX_DECODINGS = 3

/**
 * The spellings in which a server may read a path: as it stands, percent-decoded, with dot segments,
 * repeated slashes, backslashes and `;parameters` taken out. `/v2/%2e%2e/admin` is `/admin` to many.
 *
 * @param path without its query.
 */
export function pathReadings(path: string): readonly string[] {
  const readings = new Set([path])
  let text = path
  for (let round = 0; round <= MAX_DECODINGS; round++) {
    readings.add(resolved(text))
    readings.add(resolved(text.replace(/;[^/]*/g, '')))
    const decoded = text.replace(/%[0-7][0-9a-f]/gi, (code) =>
      String.fromCharCode(parseInt(code.slice(1), 16)),
    )
    if (decoded === text) break
    text = decoded
  }
  return [...readings]
}

/** RFC 3986, 5.2.4, over slashes as servers see them. */
function resolved(path: string): string {
  if (!path.startsWith('/')) return path
  const parts: string[] = []
  const segments = path.replace(/\\/g, '/').split(/\/+/).slice(1)
  const last = segments.at(-1)
  for (const segment of segments) {
    if (segment === '..') parts.pop()
    else if (segment !== '.' && segment !== '') parts.push(segment)
  }
  const isFolder = last === '' || last === '.' || last === '..'
  return `/${parts.join('/')}${isFolder && parts.length > 0 ? '/' : ''}`
}
