import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'

/** tap's test object, as far as it is needed here. */
interface Scope {
  teardown(clean: () => Promise<void> | void): void
}

interface SshServer {
  readonly port: number
  /** Private key, in OpenSSH's format, that lets root in. */
  readonly key: string
  /** The server's own key as a line of known_hosts. */
  readonly knownHost: string
}

/** OpenSSH's own server, for one connection each, with keys of its own and none of the machine's settings. */
export async function startSshServer(t: Scope, folder: string): Promise<SshServer> {
  // sshd(8) refuses to start without it.
  mkdirSync('/run/sshd', { recursive: true, mode: 0o755 })
  const keyAt = (name: string): string => {
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', name, '-f', join(folder, name)])
    return join(folder, name)
  }
  const hostKey = keyAt('host')
  const key = keyAt('client')
  const config = join(folder, 'sshd_config')
  const settings = [
    `HostKey ${hostKey}`,
    `AuthorizedKeysFile ${key}.pub`,
    'PasswordAuthentication no',
    'PermitRootLogin prohibit-password',
    'StrictModes no',
    'UsePAM no',
    'PidFile none',
  ]
  writeFileSync(config, `${settings.join('\n')}\n`)
  const server = createServer({ pauseOnConnect: true }, (socket) => {
    socket.on('error', () => undefined)
    const child = spawn('/usr/sbin/sshd', ['-i', '-f', config], { stdio: [socket, socket, 'ignore'] })
    child.once('spawn', () => socket.destroy())
    child.once('error', () => socket.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => new Promise<void>((resolve) => server.close(() => resolve())))
  const { port } = server.address() as AddressInfo
  const [type = '', publicKey = ''] = readFileSync(`${hostKey}.pub`, 'utf8').split(' ')
  return {
    port,
    key: readFileSync(key, 'utf8'),
    knownHost: `[127.0.0.1]:${port} ${type} ${publicKey}\n`,
  }
}
