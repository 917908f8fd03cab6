import * as v from 'valibot'
import type { PrewarmRequest } from './prewarmer.js'

const requestSchema = v.strictObject({
  references: v.array(v.string()),
  platform: v.optional(v.string()),
})

/** What a body asks for; undefined for what is no request. */
export function prewarmRequestOf(body: unknown): PrewarmRequest | undefined {
  const request = v.safeParse(requestSchema, body)
  if (!request.success) return undefined
  const { references, platform } = request.output
  return { references, ...(platform === undefined ? {} : { platform }) }
}
