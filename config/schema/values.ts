import * as v from 'valibot'
import { BYTE_SIZE_PATTERN, parseByteSize } from '../../base/byte-size.js'
import { formatHostPattern, parseHostPattern } from '../../base/net/host-pattern.js'
import { formatIpBlock, parseIpBlock } from '../../base/net/ip-set.js'
import { MAX_TIME_SPAN_MS, TIME_SPAN_PATTERN, parseTimeSpan } from '../../base/time-span.js'
import { judged, onlyComplaint } from './keys.js'

// Single values: sizes come out as bytes, spans as milliseconds, hosts and addresses in their one spelling.

export const text = v.string('is not text; put it in quotes')
export const toggle = v.boolean('is not a switch; write true or false')

export const port = v.pipe(
  v.number('is not a port; write a whole number from 0 to 65535'),
  v.integer('is not a port; write a whole number from 0 to 65535'),
  v.minValue(0, 'is not a port; write a whole number from 0 to 65535'),
  v.maxValue(65535, 'is not a port; write a whole number from 0 to 65535'),
)

const NOT_A_TARGET_PORT = 'is not a port; write a whole number from 1 to 65535'
export const targetPort = v.pipe(
  v.number(NOT_A_TARGET_PORT),
  v.integer(NOT_A_TARGET_PORT),
  v.minValue(1, NOT_A_TARGET_PORT),
  v.maxValue(65535, NOT_A_TARGET_PORT),
)

export const path = v.pipe(
  text,
  judged((file) => {
    if (file === '') return 'is empty; write a path'
    return file.includes('\0') ? 'holds a NUL' : undefined
  }),
)

export const byteSize = v.pipe(
  v.union([v.number(), v.string()], 'is not a size; write bytes, or a number with KB, MB, GB or TB'),
  v.rawTransform<number | string, number>(({ dataset, addIssue, NEVER }) => {
    const bytes = parseByteSize(dataset.value)
    if (bytes !== undefined) return bytes
    const isSize = typeof dataset.value === 'number' || BYTE_SIZE_PATTERN.test(dataset.value)
    addIssue({
      message: isSize
        ? 'is out of range; a size is a whole number of bytes from 1 to 9007199254740991'
        : 'is not a size; write bytes, or a number with KB, MB, GB or TB',
    })
    return NEVER
  }),
)

export const sizeOrNone = v.union(
  [v.literal(0), byteSize],
  'is not a size; write 0 for none, bytes, or a number with KB, MB, GB or TB',
)

const NO_SPAN = 'is not a time span; write 90s, 12h, 7d or 2w'
export const timeSpan = spanOr(NO_SPAN)
export const timeToLive = spanOr(`${NO_SPAN}, or upstream`, 'upstream')

/** @param word accepted beside spans, as it stands. */
function spanOr<Word extends string = never>(complaint: string, word?: Word) {
  return v.pipe(
    v.union([v.number(), v.string()], complaint),
    v.rawTransform<number | string, number | Word>(({ dataset, addIssue, NEVER }) => {
      if (word !== undefined && dataset.value === word) return word
      const ms = parseTimeSpan(dataset.value)
      if (ms !== undefined) return ms
      const isSpan = typeof dataset.value === 'number' || TIME_SPAN_PATTERN.test(dataset.value)
      addIssue({
        message: isSpan
          ? `is out of range; a time span is at most ${MAX_TIME_SPAN_MS / 86_400_000}d, in whole milliseconds`
          : complaint,
      })
      return NEVER
    }),
  )
}

/** What a timer of Node can wait at most, 2^31 - 1 ms, in whole days. */
const MAX_TIME_LIMIT_MS = 24 * 86_400_000
/** Shorter ones would end what works. */
const MIN_TIME_LIMIT_MS = 100
const NOT_A_TIME_LIMIT = 'is out of range; a time-out is from 100ms to 24d'

export const timeLimit = v.pipe(
  timeSpan,
  v.minValue(MIN_TIME_LIMIT_MS, NOT_A_TIME_LIMIT),
  v.maxValue(MAX_TIME_LIMIT_MS, NOT_A_TIME_LIMIT),
)

const PERCENT = 'is not a share; write a whole number of percent from 1 to 100'
export const percent = v.pipe(
  v.number(PERCENT),
  v.integer(PERCENT),
  v.minValue(1, PERCENT),
  v.maxValue(100, PERCENT),
)

export const hostPattern = v.pipe(
  v.string('is not a host pattern; put it in quotes'),
  judged((pattern) => onlyComplaint(parseHostPattern(pattern))),
  v.transform((pattern) => canonicalPattern(pattern)),
)

export const ipBlock = v.pipe(
  v.string('is not an address or CIDR block; put it in quotes'),
  judged((entry) => onlyComplaint(parseIpBlock(entry))),
  v.transform((entry) => {
    const block = parseIpBlock(entry)
    return typeof block === 'string' ? entry : formatIpBlock(block)
  }),
)

/** The one spelling of a pattern that has been found valid. */
export function canonicalPattern(text: string): string {
  const pattern = parseHostPattern(text)
  return typeof pattern === 'string' ? text : formatHostPattern(pattern)
}
