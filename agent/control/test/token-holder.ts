/**
 * Run by control-verbs.test as a service of another account: takes the token it was handed and says what can be
 * done with it. Arguments: path of the control socket, a service.
 */
import { existsSync, readFileSync } from 'node:fs'
import { codeOf } from '../../../base/errors.js'
import { askAgent, type ControlQuestion } from '../client.js'
import { ControlFailedError } from '../errors.js'
import { takeHandover } from '../../../base/process/handover.js'

const [socketPath = '', service = ''] = process.argv.slice(2)
const variable = process.env['DISCOBOT_HANDOVER_FD']
const token = takeHandover(variable)?.token ?? 'none'
const outcome = async (question: ControlQuestion): Promise<string> => {
  try {
    await askAgent(socketPath, { method: 'POST', ...question })
    return 'done'
  } catch (error) {
    return (error instanceof ControlFailedError ? error.problem : codeOf(error)) ?? String(error)
  }
}
const report = {
  uid: process.getuid?.(),
  inEnvironment: readFileSync('/proc/self/environ', 'utf8').includes(token),
  descriptorOpen: existsSync(`/proc/self/fd/${variable}`),
  restart: await outcome({ path: `/services/${service}/restart`, token }),
  restartWithout: await outcome({ path: `/services/${service}/restart` }),
  restartWithAnother: await outcome({ path: `/services/${service}/restart`, token: `${token}x` }),
  restartOfGuard: await outcome({ path: '/services/guard/restart', token }),
  stopOfGuard: await outcome({ path: '/services/guard/stop', token }),
  signal: await outcome({ path: '/signal', body: { signal: 'TERM' }, token }),
  reload: await outcome({ path: '/reload', token }),
  look: await outcome({ method: 'GET', path: '/status' }),
}
process.stdout.write(`${JSON.stringify(report)}\n`)
setInterval(() => undefined, 60_000)
