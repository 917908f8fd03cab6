/**
 * A program: connections to 127.0.0.1:17080 as no client should make them, held while a command runs.
 *
 *   node rude-client.js COMMAND [ARGUMENT…]
 *
 * Ends with the command's exit code.
 */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'

/** Of each kind. */
const COUNT = 40

/** What is sent, and how the connection goes on. */
const KINDS: readonly { readonly say: () => Buffer | string; readonly then: 'hold' | 'end' | 'reset' }[] = [
  { say: () => '', then: 'hold' },
  { say: () => '', then: 'end' },
  { say: () => '', then: 'reset' },
  { say: () => randomBytes(2_000), then: 'hold' },
  { say: () => randomBytes(2_000), then: 'reset' },
  { say: () => 'GET http://web.test/ HTTP/1.1\r\nHost: web', then: 'hold' },
  { say: () => 'CONNECT web.test:443 HTT', then: 'hold' },
  { say: () => 'CONNECT web.test:443 HTTP/1.1\r\nHost: web.test:443\r\n\r\n', then: 'hold' },
  { say: () => 'CONNECT web.test:443 HTTP/1.1\r\nHost: web.test:443\r\n\r\n', then: 'end' },
  // A TLS record header that promises a client hello of 16 KiB, with nothing behind it.
  {
    say: () => 'CONNECT web.test:443 HTTP/1.1\r\nHost: web.test:443\r\n\r\n\x16\x03\x01\x40\x00\x01',
    then: 'hold',
  },
  // SOCKS5: a greeting that announces three methods and names one; a request that stops after its command.
  { say: () => Buffer.from([5, 3, 0]), then: 'hold' },
  { say: () => Buffer.from([5, 1, 0, 5, 1]), then: 'reset' },
]

const open = await Promise.all(KINDS.flatMap((kind) => Array.from({ length: COUNT }, () => start(kind))))
const [program = '', ...rest] = process.argv.slice(2)
const child = spawn(program, rest, { stdio: 'inherit' })
child.once('error', () => process.exit(127))
child.once('exit', (code) => {
  for (const socket of open) socket.resetAndDestroy()
  process.exitCode = code ?? 1
})

/** Resolves when all is sent. */
function start({ say, then }: (typeof KINDS)[number]): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port: 17080, allowHalfOpen: true })
  // Being thrown out is one of the right answers.
  socket.on('error', () => socket.destroy())
  return new Promise((resolve) => {
    socket.once('close', () => resolve(socket))
    socket.once('connect', () => {
      socket.write(say(), () => {
        if (then === 'end') socket.end()
        if (then === 'reset') socket.resetAndDestroy()
        resolve(socket)
      })
    })
  })
}
