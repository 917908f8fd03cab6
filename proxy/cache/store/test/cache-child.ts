import { openTestCache, startFront } from '../../../../test/lab/cache-front.js'

// A cache in a process of its own, to be killed or weighed: node cache-child.js DIR ORIGIN-PORT

const [, , dir = '', originPort = ''] = process.argv
const cache = await openTestCache(dir)
const front = await startFront(cache, Number(originPort))

process.on('message', (question) => {
  if (question !== 'rss') return
  process.send?.({ rss: process.memoryUsage.rss() })
})
process.on('disconnect', () => process.exit(0))
process.send?.({ port: front.port })
