/** 1024 as in `docker` and `du -h`; the reference's example calls 53687091200 bytes "50GB". */
const UNIT_BYTES: Readonly<Record<string, number>> = {
  '': 1,
  K: 1024,
  M: 1024 ** 2,
  G: 1024 ** 3,
  T: 1024 ** 4,
}

/** A number and a unit; whether it is in range, {@link parseByteSize} says. */
export const BYTE_SIZE_PATTERN = /^(\d+(?:\.\d+)?) ?([KMGT]?)(?:i?B)?$/i

/**
 * Bytes of `1024`, `50GB`, `1.5 TiB`, `512k`: KB and KiB are both 1024 bytes, letters of either case.
 * Parts of a byte are dropped. `undefined` when it is not such a size, is below 1, or is above 2^53 - 1.
 */
export function parseByteSize(size: number | string): number | undefined {
  if (typeof size === 'number') return isUsable(size) ? size : undefined
  const [, amount, unit] = BYTE_SIZE_PATTERN.exec(size) ?? []
  const factor = UNIT_BYTES[unit?.toUpperCase() ?? '']
  if (amount === undefined || factor === undefined) return undefined
  const bytes = Math.floor(Number(amount) * factor)
  return isUsable(bytes) ? bytes : undefined
}

function isUsable(bytes: number): boolean {
  return Number.isSafeInteger(bytes) && bytes > 0
}
