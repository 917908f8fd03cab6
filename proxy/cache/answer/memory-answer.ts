import type { ClientResponse } from '../../message/message.js'
import type { AccessVerdicts } from '../rules/access.js'
import type { Answer } from './answer.js'
import { askExpiredForMs, type Ask } from './ask.js'
import type { ServedOutcome } from '../contract/contract.js'
import type { Entries } from '../store/entries.js'
import type { Fills } from '../fill/fills.js'
import { entryAt, type StoredEntry } from '../entry/stored-entry.js'
import { storedAnswer } from './stored-answer.js'
import type { Tally } from '../contract/tally.js'
import type { Vouchers } from './vouchers.js'

// request → small entry in memory → client, within one turn of the event loop

export interface MemoryAnswerDeps {
  readonly entries: Entries
  readonly fills: Fills
  readonly tally: Tally
  readonly verdicts: AccessVerdicts
  readonly vouchers: Vouchers
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/** Answers what memory has and nothing speaks against; undefined, nothing being sent, for everything else. */
export function answerFromMemory(
  ask: Ask,
  response: ClientResponse,
  { entries, fills, tally, verdicts, vouchers, now }: MemoryAnswerDeps,
): ServedOutcome | undefined {
  const { request, settings, rule, key, access } = ask
  if (ask.aside || fills.get(key.name) !== undefined || response.destroyed) return undefined
  const held = entries.held(key.name)
  const entry = held === undefined ? undefined : entryAt(held, key.place)
  if (entry?.meta.accept !== ask.accept) return undefined
  const { meta } = entry
  const confirms = settings.confirmsAccess && meta.access !== ''
  if (confirms && verdicts.known(meta.access, request, access) !== true) return undefined
  const nowMs = now()
  if (!settings.offline && askExpiredForMs(ask, meta, nowMs) >= 0) return undefined
  const answer = storedAnswer(request, entry, nowMs)
  const bytes = sendHeld(entry, answer, response)
  if (bytes === undefined) return undefined
  tally.hit(rule.name)
  hearManifest(ask, entry, vouchers)
  return { kind: 'served', cache: 'HIT', status: answer.status, bytes }
}

/** A repository that gives a manifest out says that it has the blobs of it. */
export function hearManifest({ key }: Ask, { body: { held } }: StoredEntry, vouchers: Vouchers): void {
  if (held === undefined || key.digest?.kind !== 'manifest' || key.repository === undefined) return
  vouchers.hear(key.place, key.name, held)
}

/**
 * Hands an answer to the socket, which takes its time with it: the bytes are there for everybody, so nothing has
 * to be given back. Returns the number of body bytes, or undefined where the answer takes more.
 */
function sendHeld(
  { body: { held } }: StoredEntry,
  { status, reason, headers, body }: Answer,
  response: ClientResponse,
): number | undefined {
  const [part, ...others] = body?.parts ?? []
  if (held === undefined || others.length > 0) return undefined
  response.writeHead(status, reason, headers)
  if (part === undefined) {
    response.end()
    return 0
  }
  const bytes = held.subarray(part.from, part.to)
  response.end(bytes)
  return bytes.length
}
