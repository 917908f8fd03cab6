/** A program that goes on after two faults, and ends by the third. */
import { outliveFaults } from '../entry.js'
import { createLogger } from '../../log/logger.js'

const forget = outliveFaults(createLogger({ level: 'info', format: 'text' }))
setTimeout(() => {
  throw new Error('thrown')
}, 0)
setTimeout(() => {
  // A rejection that nobody handles, which is the point.
  void Promise.reject(new Error('rejected'))
}, 1)
setTimeout(() => {
  process.stdout.write('went on\n', () => {
    forget()
    setTimeout(() => {
      throw new Error('the last')
    }, 0)
  })
}, 20)
