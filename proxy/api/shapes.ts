import { COUNT, listOf, objectOf, shape, TEXT, type JsonSchema } from '../../base/http/json-schema.js'

/** The bodies that the routes name, for the description of the API alone. */
export const SHAPES: Readonly<Record<string, JsonSchema>> = {
  Health: objectOf(
    { status: { enum: ['ok', 'degraded'] }, ca_cert: TEXT },
    {
      config: objectOf(
        { state: { const: 'rejected' }, problems: listOf({ type: 'object' }) },
        { since: TEXT },
      ),
      secrets: objectOf({ withheld: listOf(TEXT), reason: TEXT }),
      findings: listOf(TEXT),
    },
  ),
  Requests: objectOf({
    requests: listOf(
      objectOf(
        {
          id: COUNT,
          method: TEXT,
          state: { enum: ['deciding', 'waiting', 'answering', 'switched'] },
          bytes: COUNT,
          age_ms: { type: 'number' },
        },
        { host: TEXT, path: TEXT },
      ),
    ),
  }),
  EntryPage: objectOf({
    entries: listOf(
      objectOf({
        key: TEXT,
        rule: TEXT,
        size: COUNT,
        disk_size: COUNT,
        digest: TEXT,
        stored_at: TEXT,
        last_used_at: TEXT,
      }),
    ),
    next: { type: ['string', 'null'], description: 'cursor of the next page' },
  }),
  CacheStats: objectOf({
    hits: COUNT,
    misses: COUNT,
    stores: COUNT,
    evictions: COUNT,
    errors: COUNT,
    current_size: COUNT,
    hit_rate: { type: 'number' },
    memory_size: COUNT,
    rules: { type: 'object', additionalProperties: { type: 'object' } },
  }),
  Removed: objectOf({ status: { const: 'ok' }, entries: COUNT, bytes: COUNT }),
  Verification: objectOf({
    state: { enum: ['running', 'done', 'stopped'] },
    entries: COUNT,
    checked: COUNT,
    bad: COUNT,
    skipped: COUNT,
    bytes: COUNT,
    started_at: TEXT,
    ended_at: { type: ['string', 'null'] },
  }),
  ConfigInForce: objectOf(
    {
      revision: TEXT,
      from: { enum: ['file', 'api', 'default'] },
      file: { type: ['string', 'null'] },
      config: { type: 'object' },
      pending_restart: listOf(TEXT),
      state: { enum: ['in force', 'rejected'] },
      problems: listOf({ type: 'object' }),
      sources: { type: 'object' },
    },
    { since: TEXT },
  ),
  ConfigChanged: objectOf({
    status: { const: 'ok' },
    revision: TEXT,
    persisted: { type: 'boolean' },
    lasts: TEXT,
    pending_restart: listOf(TEXT),
  }),
  Question: objectOf({ method: TEXT, url: TEXT }),
  Explanation: objectOf(
    {
      method: TEXT,
      url: TEXT,
      decision: { enum: ['allow', 'block', 'unresolved'] },
      by: { type: 'object' },
      mode: { enum: ['enforce', 'observe'] },
      connection: { enum: ['intercept', 'passthrough', 'plain'] },
      way: TEXT,
      cache: { type: 'object' },
      in_force: objectOf({ from: TEXT, revision: TEXT, problems: listOf(TEXT) }, { file: TEXT }),
    },
    {
      reason: TEXT,
      would_block: { type: 'object' },
      addresses: listOf({ type: 'object' }),
      resolve_error: TEXT,
    },
  ),
  PrewarmJob: objectOf({
    id: TEXT,
    state: { enum: ['running', 'done', 'failed', 'cancelled'] },
    references: listOf(
      objectOf(
        {
          reference: TEXT,
          state: { enum: ['waiting', 'fetching', 'done', 'failed'] },
          items: listOf({ type: 'object' }),
        },
        { platform: TEXT, problem: TEXT },
      ),
    ),
  }),
  PrewarmRequest: objectOf({ references: listOf(TEXT) }, { platform: TEXT }),
  ImportReport: objectOf({
    entries: COUNT,
    bytes: COUNT,
    present: COUNT,
    too_large: COUNT,
    outdated: COUNT,
    damaged: COUNT,
    damaged_keys: listOf(TEXT),
  }),
  PrewarmJobs: objectOf({ jobs: listOf(shape('PrewarmJob')) }),
}
