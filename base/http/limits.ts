/** Characters of a value in a query, unless its route says otherwise. Linux has 4,096 bytes for a path. */
export const MAX_VALUE_LENGTH = 4096
