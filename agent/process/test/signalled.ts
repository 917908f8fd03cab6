/** Run by signals.test: prints what each signal does. */
import { silentLogger } from '../../../base/log/logger.js'
import { handleSignals } from '../signals.js'

const say = (what: string): void => {
  process.stdout.write(`${what}\n`)
}
const lives = setInterval(() => undefined, 60_000)
const dispose = handleSignals({
  logger: silentLogger,
  onStop: (signal) => say(`stop ${signal}`),
  onHurry: () => say('hurry'),
  onKill: () => {
    say('kill')
    dispose()
    clearInterval(lives)
  },
  onReload: () => say('reload'),
  forward: (signal) => say(`forward ${signal}`),
})
say('listening')
