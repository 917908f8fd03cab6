import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { NEEDS_ROOT } from '../../test/lab/booted.js'
import { startIsolated } from '../../test/lab/isolated.js'

// The promise: a stop in the midst of work keeps its order and ends in time, and nothing stays behind.

const SERVICES = `mkdir -p /etc/discobot/services.d
cat >/etc/discobot/services.d/load.yaml <<'END'
services:
  busy: { command: sh -c 'while :; do :; done', depends: [proxy] }
  loud: { command: sh -c 'while :; do echo all work and no play; done', log_level: error, depends: [proxy] }
  forks: { command: sh -c 'while :; do (sleep 0.01 &); done', depends: [busy] }
END
`
/** Transfers through the proxy that never end by themselves: a server sends a byte at a time. */
const TRANSFERS = `python3 -c '
import http.server, socketserver, time
class Slow(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        while True:
            self.wfile.write(b"x"); time.sleep(0.01)
    def log_message(self, *_): pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
Server(("127.0.0.1", 8000), Slow).serve_forever()' >/dev/null 2>&1 &
sleep 1
for n in $(seq 20); do curl -sN -x http://127.0.0.1:17080 http://127.0.0.1:8000/$n >/tmp/$n 2>/dev/null & done
sleep 1; wc -c /tmp/1`

void t.test('a stop under load', { skip: NEEDS_ROOT }, async (t) => {
  const container = await startIsolated(t, { env: { DISCOBOT_DOCKER: 'off' }, prepare: SERVICES })
  await container.logged(/Discobot is up/)
  const { stdout } = await container.exec(`setsid bash -c '${TRANSFERS.replaceAll("'", String.raw`'\''`)}'`)
  t.match(stdout, /^[1-9]\d* /, 'transfers are under way')
  await container.exec('setsid sh -c "while :; do :; done" >/dev/null 2>&1 </dev/null &')

  const from = performance.now()
  t.equal(await container.stop(), 0)
  const tookMs = performance.now() - from
  t.ok(tookMs < 35_000, `after ${Math.round(tookMs)} ms`)
  const stopped = [...container.logs().matchAll(/service stopped .*?service=(\S+)/g)].map(([, name]) => name)
  t.strictSame([...stopped].sort(), ['agent-api', 'busy', 'forks', 'loud', 'proxy'])
  for (const [first, then] of [
    ['forks', 'busy'],
    ['busy', 'agent-api'],
    ['loud', 'agent-api'],
    ['agent-api', 'proxy'],
  ] as const) {
    t.ok(stopped.indexOf(first) < stopped.indexOf(then), `${first} before ${then}`)
  }
  t.notMatch(container.logs(), /the home stays mounted/)
  // Its overlay was taken down, or the next start could not take the session up.
  t.ok(readdirSync(join(container.dataDir, 'home/sessions')).length > 0, 'the session is kept')
  const again = await startIsolated(t, { env: { DISCOBOT_DOCKER: 'off' }, dataDir: container.dataDir })
  await again.logged(/Discobot is up/)
  t.notMatch(again.logs(), /boot step degraded/, 'nothing of the session before is in the way')
  t.equal(await again.stop(), 0)
})
