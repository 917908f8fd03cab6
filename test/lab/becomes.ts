const LIMIT_MS = 60_000

/** Resolves once `true` is seen, where nothing tells of the change. @throws after 60 s. */
export async function becomes(seen: () => boolean): Promise<void> {
  const deadline = performance.now() + LIMIT_MS
  while (!seen()) {
    if (performance.now() > deadline) throw new Error(`never seen: ${seen.toString()}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
