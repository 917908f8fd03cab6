const DIGEST_KEY = /^(?:blob|manifest) ((?:sha256|sha512):[0-9a-f]+)$/

/** A content-addressed key says what its body hashes to: `sha256:<hex>` or `sha512:<hex>`. Others say nothing. */
export function promisedDigest(key: string): string | undefined {
  return DIGEST_KEY.exec(key)?.[1]
}

export function isContentKey(key: string): boolean {
  return DIGEST_KEY.test(key)
}
