import { headerValue, type RawHeaders } from '../../message/headers.js'
import type { AppliedRule } from './rules.js'

type Expected = AppliedRule['expect']

/** Pages of sign-ins, portals and errors, which come with status 200. */
const PAGE_TYPE = /^\s*(text\/html|application\/xhtml\+xml)\s*(;|$)/i
/** What answers instead of an archive: an error as a document. An unknown file may well be called text/plain. */
const DOCUMENT_TYPE =
  /^\s*(text\/(xml|css|javascript)|application\/([\w.-]+\+)?(json|xml|javascript))\s*(;|$)/i

/** HTML Living Standard, 13.2.3.2, has browsers look at 1024 bytes; what tells a page is at the very beginning. */
export const LOOKED_AT_BYTES = 512
const BEFORE_MARKUP = /^(\ufeff|\s|<!--[^]*?-->)*/
const PAGE_START = /^<(!doctype\s+html|html|head|body|title|meta|script|style|div|h1|p|br|center)[\s>/]/i
/** No archive and no compressed stream begins so, and a tar would, with a file of such a name. */
const DOCUMENT_START = /^[<{]/

/** Why a body of that type is not what the rule is for; undefined where it may be. */
export function whyUnexpectedType(expected: Expected, headers: RawHeaders): string | undefined {
  const type = headerValue(headers, 'content-type') ?? ''
  const unfit =
    expected !== 'anything' && (PAGE_TYPE.test(type) || (expected === 'package' && DOCUMENT_TYPE.test(type)))
  return unfit ? `Content-Type: ${type}, where a ${expected} is expected` : undefined
}

/** Why a body that begins so is not what the rule is for. @param start up to {@link LOOKED_AT_BYTES} of it. */
export function whyUnexpectedBody(expected: Expected, start: Buffer): string | undefined {
  if (expected === 'anything') return undefined
  if (start.length === 0) return `nothing, where a ${expected} is expected`
  const text = start.toString('latin1').replace(/^\xef\xbb\xbf/, '')
  const markup = text.replace(BEFORE_MARKUP, '')
  if (PAGE_START.test(markup)) return `a web page, where a ${expected} is expected`
  return expected === 'package' && DOCUMENT_START.test(markup)
    ? 'a document, where a package is expected'
    : undefined
}
