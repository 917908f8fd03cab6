/** Run by stalled-output.test: logs as an init does, and says on stderr when its work is done. */
import { createLogger } from '../logger.js'

const [lines = '0', bytes = '100', gathers] = process.argv.slice(2)
const logger = createLogger({ level: 'info', format: 'text', gathers: gathers !== undefined })
const say = (what: string): void => void process.stderr.write(`${what}\n`)
process.on('SIGUSR2', () => {
  logger.info({}, 'afterwards')
  say('said')
})
process.on('SIGTERM', () => process.exit(0))
const startedAt = performance.now()
for (let i = 0; i < Number(lines); i += 1) logger.info({}, `n${i} ${'x'.repeat(Number(bytes))}`)
say(`done in ${Math.round(performance.now() - startedAt)} ms`)
setInterval(() => undefined, 60_000)
