import { endToEnd, without, type RawHeaders } from '../../message/headers.js'

// What a request asks with when the answer is kept for everybody. A field that the key does not cover would let the
// first client decide what all later ones get, so each is one of these:
//
// - sent: it says who asks, or it is covered;
// - idle: it says how or why somebody asks, not what for. It stays behind;
// - telling: all others. A request with such a field may mean something else, so it is not answered from what is shared.

/**
 * Credentials, which rules of their own concern (`authorization`), the name of the program, without which some
 * registries refuse, and the way taken so far. `Accept` is covered by `acceptOf`, or by the digest of the body.
 */
const SENT = new Set(['accept', 'authorization', 'cookie', 'user-agent', 'via'])

const IDLE = new Set([
  // Of the connection and the framing; Host is what was decided on.
  'connection',
  'content-length',
  'expect',
  'host',
  'keep-alive',
  'max-forwards',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  // Answered here, or asked in one form only.
  'accept-encoding',
  'cache-control',
  'cache-store',
  'expires',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
  'pragma',
  'range',
  // Preferences. A server that heeds one says so in Vary, and then nothing is kept.
  'accept-charset',
  'accept-language',
  'dnt',
  'extension',
  'mime-version',
  'priority',
  'purpose',
  'save-data',
  'upgrade-insecure-requests',
  // Who asks on whose behalf, and why.
  'content-type',
  'date',
  'forwarded',
  'from',
  'referer',
  'x-forwarded-for',
  'x-gemfile-source',
  'x-meta-source-client',
  'x-real-ip',
  'x-requested-with',
  // Traces.
  'b3',
  'baggage',
  'sentry-trace',
  'traceparent',
  'tracestate',
  'uber-trace-id',
  'x-amzn-trace-id',
  'x-client-data',
  'x-cloud-trace-context',
  'x-correlation-id',
  'x-request-id',
])

/** Families of those that one client sends about itself. */
const IDLE_FAMILY = /^(cargo|docker|npm|pacote|sec|x-b3|x-datadog|x-docker|x-nuget|x-terraform)-/

/** Whether a request with this field (lower case) may mean something else than one without. */
export function isTelling(name: string): boolean {
  return !SENT.has(name) && !IDLE.has(name) && !IDLE_FAMILY.test(name)
}

/** Says that a request has a body, which a shared one has not. */
const FRAMING = new Set(['content-length', 'transfer-encoding'])
/** Spelt as most clients do, so that most fields of most requests need no other look: this is on the way of a hit. */
const USUAL = new Set(
  [...SENT, ...IDLE]
    .filter((name) => !FRAMING.has(name))
    .flatMap((name) => [name, name.replace(/\b[a-z]/g, (letter) => letter.toUpperCase())]),
)

/**
 * Whether a request may mean something else than one of the same URL (`telling`) or brings something along (`body`).
 *
 * @param passed fields, lower case, that a rule sends along.
 */
export function meaningOf(fields: RawHeaders, passed: ReadonlySet<string>): 'plain' | 'telling' | 'body' {
  let isPlain = true
  for (let at = 0; at < fields.length; at += 2) {
    const field = fields[at] ?? ''
    if (USUAL.has(field)) continue
    const name = field.toLowerCase()
    if (name === 'transfer-encoding' || (name === 'content-length' && Number(fields[at + 1]) !== 0))
      return 'body'
    if (isTelling(name) && !passed.has(name)) isPlain = false
  }
  return isPlain ? 'plain' : 'telling'
}

/**
 * What a request asks to be given, as far as it is not anything there is: an entry without a digest answers those only
 * that ask alike. Where packages are asked for, which have one form, a client that takes everything prefers nothing.
 */
export function acceptOf(accept: string | undefined, negotiates: boolean): string {
  if (accept === undefined || accept === '*/*') return ''
  return !negotiates && /\*\/\*\s*(?:$|[,;])/.test(accept) ? '' : accept
}

/** @param accept see {@link acceptOf}; undefined where the digest of the body covers it. */
export function sharedFields(
  fields: RawHeaders,
  accept: string | undefined,
  passed: ReadonlySet<string>,
): string[] {
  const own = new Set(SENT)
  if (accept !== undefined) own.delete('accept')
  const shared = without(endToEnd(fields), (name) => !own.has(name) && !passed.has(name))
  if (accept !== undefined) shared.push('Accept', accept === '' ? '*/*' : accept)
  return shared
}
