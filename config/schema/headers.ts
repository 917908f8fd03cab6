import * as v from 'valibot'
import { headerNameComplaint, headerValueComplaint, ruleHeaderComplaint } from '../model/header-field.js'
import { parseHostPattern } from '../../base/net/host-pattern.js'
import { described, judged, list, mapping, onlyComplaint, optional } from './keys.js'
import { text, toggle } from './values.js'

/** Each request to the host gets them, or is compared with them. */
const MAX_IN_RULE = 64

const headerFields = v.pipe(
  v.record(
    v.pipe(v.string(), judged(ruleHeaderComplaint)),
    v.pipe(v.string('is not text; put it in quotes'), judged(headerValueComplaint)),
    'is not a mapping of header names to values',
  ),
  v.maxEntries(MAX_IN_RULE, `has more than ${MAX_IN_RULE} headers`),
)

export const condition = v.strictObject(
  {
    header: described(v.pipe(text, judged(headerNameComplaint)), 'Header of the request, in any case.'),
    equals: described(v.pipe(text, judged(headerValueComplaint)), 'The value it must have, exactly.'),
  },
  'is not a condition; write { header: NAME, equals: VALUE }',
)

export const ruleKeys = {
  set: optional(mapping(headerFields), 'Header → value that replaces what the client sent.'),
  append: optional(mapping(headerFields), 'Header → value joined to what the client sent with ", ".'),
  conditions: optional(
    v.pipe(list(condition), v.maxLength(MAX_IN_RULE, `has more than ${MAX_IN_RULE} conditions`)),
    'All must hold for the rule to apply; none means always.',
  ),
  insecure: optional(
    toggle,
    'Whether the rule applies to plain HTTP too, where anybody on the way can read it.',
  ),
}

export const headers = v.record(
  // Kept as written, so that two spellings of one pattern can be told from one.
  v.pipe(
    v.string(),
    judged((pattern) => onlyComplaint(parseHostPattern(pattern))),
  ),
  mapping(
    v.strictObject(ruleKeys, 'is not a header rule; write set, append, conditions or insecure below it'),
  ),
  'is not a mapping of host patterns to rules',
)
