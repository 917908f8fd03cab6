import * as v from 'valibot'
import { optional } from './keys.js'
import { byteSize } from './values.js'

const NOT_A_COUNT = 'is not a count; write a whole number from 1 to 1000000'
const count = v.pipe(
  v.number(NOT_A_COUNT),
  v.integer(NOT_A_COUNT),
  v.minValue(1, NOT_A_COUNT),
  v.maxValue(1_000_000, NOT_A_COUNT),
)

/** Less than tokens take that registries send; more than one connection should make us hold. */
const HEADER_BYTES = 'is out of range; headers may have 8KB to 1MB'
const headerBytes = v.pipe(
  byteSize,
  v.minValue(8 * 1024, HEADER_BYTES),
  v.maxValue(1024 * 1024, HEADER_BYTES),
)

export const limitsKeys = {
  connections: optional(count, 'Connections of clients at a time.'),
  client_connections: optional(count, 'Connections at a time from one address.'),
  requests: optional(count, 'Requests at a time.'),
  header_bytes: optional(headerBytes, 'Bytes that the head of a request may have.'),
  new_hosts: optional(count, 'Hosts a minute for which a certificate is made.'),
  client_new_hosts: optional(count, 'Hosts a minute for which one is made for one address.'),
}
