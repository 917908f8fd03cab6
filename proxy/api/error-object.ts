import { objectOf, TEXT } from '../../base/http/json-schema.js'
import type { ProblemFormat } from '../../base/http/problem.js'

/** `{"error": "…"}`, with `code` and more where there is more to say (docs/errors.md). */
export const ERROR_OBJECT: ProblemFormat = {
  mediaType: 'application/json',
  schema: objectOf({ error: TEXT }, { code: TEXT, problems: { type: 'array', items: { type: 'object' } } }),
  page: ({ detail, code, more }) => ({ error: detail, ...(code === undefined ? {} : { code }), ...more }),
}
