import { randomBytes } from 'node:crypto'
import t from 'tap'
import { startHttpsOrigin } from '../../../test/lab/harness.js'
import { startClientLab } from './client-lab.js'

// openssl s_client, which trusts whom it is told to and says whom it met.

t.test('openssl verifies our chain through -proxy, and is answered by the origin', async (t) => {
  const lab = await startClientLab(t)
  const word = randomBytes(8).toString('hex')
  const { port } = await startHttpsOrigin(
    t,
    lab.proxy.originAuthority,
    'origin.test',
    (request, response) => void response.end(`${word} for ${request.url}`),
  )
  for (const version of ['-tls1_2', '-tls1_3']) {
    const said = await lab.said(
      'openssl',
      [
        ...['s_client', '-proxy', `127.0.0.1:${lab.proxy.port}`, '-connect', `origin.test:${port}`, version],
        ...['-servername', 'origin.test', '-verify_hostname', 'origin.test', '-verify_return_error'],
        ...['-CAfile', lab.proxy.caPath, '-ign_eof'],
      ],
      { input: `GET /${version} HTTP/1.1\r\nHost: origin.test:${port}\r\nConnection: close\r\n\r\n` },
    )
    t.match(said, /Verification: OK/)
    t.match(said, /issuer=O = Discobot Proxy, CN = Discobot Proxy CA/)
    t.match(said, `${word} for /${version}`)
    await lab.logged(new RegExp(`GET origin\\.test:${port}/${version} 200`))
  }
})
