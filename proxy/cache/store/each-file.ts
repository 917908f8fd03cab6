import type { Incidents } from '../contract/incidents.js'

/** Files looked at or removed side by side; Node's thread pool has 4 threads, and hits need them too. */
const PARALLEL_FILES = 2

/** Does `work` for each entry; a failure concerns one of them, and the others go on. */
export async function eachFile(
  names: readonly string[],
  incidents: Incidents,
  work: (name: string) => Promise<void>,
): Promise<void> {
  const queue = names.values()
  const worker = async (): Promise<void> => {
    for (const name of queue) {
      await work(name).catch((error: unknown) =>
        incidents.report('cache file cannot be handled', error, { entry: name }),
      )
    }
  }
  await Promise.all(Array.from({ length: PARALLEL_FILES }, worker))
}
