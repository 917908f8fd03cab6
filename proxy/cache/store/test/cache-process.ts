import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'

/** A cache in a process of its own. */
interface CacheProcess {
  readonly port: number
  /** Bytes resident now. */
  rss(): Promise<number>
  /** kill -9, and gone. */
  kill(): Promise<void>
}

export async function startCacheProcess(t: Test, dir: string, originPort: number): Promise<CacheProcess> {
  const child = fork(fileURLToPath(new URL('./cache-child.js', import.meta.url)), [dir, String(originPort)])
  t.teardown(() => child.kill('SIGKILL'))
  const { port } = await answerOf<{ port: number }>(child)
  return {
    port,
    async rss() {
      const answer = answerOf<{ rss: number }>(child)
      child.send('rss')
      return (await answer).rss
    },
    async kill() {
      const gone = once(child, 'exit')
      child.kill('SIGKILL')
      await gone
    },
  }
}

async function answerOf<T>(child: ChildProcess): Promise<T> {
  const [answer] = (await once(child, 'message')) as [T]
  return answer
}
