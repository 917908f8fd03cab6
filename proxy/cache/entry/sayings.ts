import { NOWHERE, type EntryMeta, type Saying } from './meta.js'

/** Base layers of images are in dozens of repositories; those asked last are noted. */
const MAX_OTHERS = 32
/** A quarter of the largest meta, for the places besides the first. */
const MAX_OTHERS_LENGTH = 64 * 1024

/** An entry as one place presents it; undefined where that has said nothing of it. */
export function metaAt(meta: EntryMeta, place: string): EntryMeta | undefined {
  if (meta.place === place) return meta
  const saying = meta.others.find((other) => other.place === place)
  return saying === undefined ? undefined : presented(meta, saying)
}

/** The entry in other words. */
export function presented(meta: EntryMeta, { place, headers, storedAt, age, access }: Saying): EntryMeta {
  return { ...meta, place, headers, storedAt, age, access }
}

/** The entry with what a place says of it now. The bytes are those of the first one, whose words stay in front. */
export function withSaying(meta: EntryMeta, saying: Saying): EntryMeta {
  if (meta.place === saying.place) return presented(meta, saying)
  return withOthers(meta, [saying, ...meta.others])
}

/** A new entry, with what was said of the same bytes before by places that it is not from. */
export function afterEntry(meta: EntryMeta, before: EntryMeta): EntryMeta {
  if (before.digest !== meta.digest || before.key !== meta.key) return meta
  return withOthers(meta, [...before.others, before])
}

function withOthers(meta: EntryMeta, sayings: readonly Saying[]): EntryMeta {
  const others: Saying[] = []
  const places = new Set([meta.place, NOWHERE])
  let room = MAX_OTHERS_LENGTH
  for (const { place, headers, storedAt, age, access } of sayings) {
    if (places.has(place) || others.length === MAX_OTHERS) continue
    places.add(place)
    room -= JSON.stringify([place, headers, access]).length
    if (room < 0) break
    others.push({ place, headers, storedAt, age, access })
  }
  return { ...meta, others }
}
