import * as v from 'valibot'
import { ruleHeaderComplaint } from '../model/header-field.js'
import { SECRET_NAME_PATTERN } from '../model/secret-template.js'
import { described, judged, list, optional } from './keys.js'
import { hostPattern, path, text, toggle } from './values.js'

const secretName = v.pipe(
  v.string(),
  judged((name) =>
    SECRET_NAME_PATTERN.test(name)
      ? undefined
      : 'is not usable; write letters, digits and "_", as in API_KEY',
  ),
)

const variable = v.pipe(
  text,
  judged((name) =>
    SECRET_NAME_PATTERN.test(name)
      ? undefined
      : 'is not the name of a variable, as in DISCOBOT_SECRET_API_KEY',
  ),
)

/** Short enough to type, too long to be met by chance. */
const MIN_PLACEHOLDER_LENGTH = 8

const placeholder = v.pipe(
  text,
  judged((value) => {
    if (value.length < MIN_PLACEHOLDER_LENGTH)
      return `is shorter than ${MIN_PLACEHOLDER_LENGTH} characters, so that it could be met by chance`
    // Without these it stays one word in `Bearer X`, and one part of `user:X`.
    return /^[\x21-\x39\x3b-\x7e]+$/.test(value)
      ? undefined
      : 'holds something other than ASCII letters, digits and signs, or a ":"'
  }),
)

export const secretKeys = {
  hosts: described(
    list(hostPattern),
    'Host patterns the secret may go to; [] for one that clients of the proxy must show.',
  ),
  env: optional(variable, "Variable of the proxy's environment; the secret's own name unless given."),
  file: optional(path, 'File that holds the secret and nothing else, not readable by others.'),
  trust_docker: optional(
    toggle,
    "true: it is loaded though the workspace's user has a Docker engine with root's rights, and so can read it.",
  ),
  placeholder: optional(placeholder, 'What clients send in its place.'),
  placeholder_headers: optional(
    v.pipe(
      list(v.pipe(text, judged(ruleHeaderComplaint))),
      v.minLength(1, 'is empty; name a header, or remove the key'),
    ),
    'Headers in which the placeholder is looked for.',
  ),
}

export const secrets = v.record(
  secretName,
  v.strictObject(secretKeys, 'is not a secret; write hosts, and env or file, below it'),
  'is not a mapping of names to secrets',
)
