import * as v from 'valibot'
import { judged, optional } from './keys.js'
import { text } from './values.js'

const logFile = v.pipe(
  text,
  judged((file) => (file.includes('\0') ? 'holds a NUL' : undefined)),
)

export const loggingKeys = {
  level: optional(
    v.picklist(['debug', 'info', 'warn', 'error'], 'is not a level; write debug, info, warn or error'),
    'The least severe line that is written.',
  ),
  format: optional(v.picklist(['text', 'json'], 'is not a format; write text or json'), 'Form of the lines.'),
  file: optional(logFile, 'File to append to; empty means standard output.'),
}
