import t from 'tap'
import { logLine } from '../log-line.js'
import { recordingLogger } from '../../../test/lab/service-lab.js'

// The promise: a line keeps the level that its program gave it.

void t.test('levels of other programs are told apart, and what only speaks of one is not', (t) => {
  const expected: readonly [line: string, level: string][] = [
    ['time="2026-11-30T22:00:00.1Z" level=warning msg="Your kernel does not support swap"', 'warn'],
    ['time="2026-11-30T22:00:00Z" level=error msg="failed"', 'error'],
    ['time=2026-11-30T22:00:00Z level=DEBUG msg="slog of Go"', 'debug'],
    ['time="2026-11-30T22:00:00Z" level=fatal msg=gone', 'error'],
    ['ts=2026-11-30T22:00:00Z lvl=warn msg=x', 'warn'],
    ['{"time":1,"level":"error","msg":"x"}', 'error'],
    ['{"level":40,"time":1732999999,"msg":"pino"}', 'warn'],
    ['{"level": "Warning", "message": "x"}', 'warn'],
    ['W1130 22:00:00.123456       1 main.go:1] klog', 'warn'],
    ['2026-11-30T22:00:00.123Z ERROR our own', 'error'],
    ['the level=error is part of what is told', 'info'],
    ['{"msg":"no level"}', 'info'],
    [`{"padding":"${'x'.repeat(300)}","level":"error"}`, 'info'],
    ['time="now" level=unheard msg=x', 'info'],
    ['Warning: a person', 'info'],
  ]
  for (const [line, level] of expected) {
    const logger = recordingLogger()
    logLine(logger, line)
    t.match(logger.lines, [{ level }], line.slice(0, 80))
  }
  const quiet = recordingLogger()
  logLine(quiet, 'time="now" level=warning msg=kept', 'warn')
  logLine(quiet, 'time="now" level=info msg="left out"', 'warn')
  t.match(quiet.lines, [{ message: 'time="now" level=warning msg=kept' }])
  t.equal(quiet.lines.length, 1)
  t.end()
})
