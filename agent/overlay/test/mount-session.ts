/** Run as a process of its own: mounts a session's overlay, says so, and holds it until it is killed. */
import { silentLogger } from '../../../base/log/logger.js'
import { SessionOverlay } from '../session-overlay.js'
import { loadMountCalls } from '../../system/mount-calls.js'

const [, , base = '', home = '', sessionId = ''] = process.argv
const calls = await loadMountCalls()
const overlay = new SessionOverlay({ calls, base, rename: true, home, sessionId, logger: silentLogger })
process.stdout.write(await overlay.mount(new AbortController().signal))
setInterval(() => undefined, 60_000)
