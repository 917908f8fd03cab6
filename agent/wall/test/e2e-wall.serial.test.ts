import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { bootContainer, NEEDS_ROOT } from '../../../test/lab/booted.js'
import { makeImage } from '../../../test/lab/image-fixture.js'
import { makeOriginCertificates } from '../../../test/lab/origins/origin-certificates.js'
import { AROUND, arrived, PREPARE_OUTSIDE } from './outside.js'
import { DOCKER, REGISTRY_HOST, startRegistry } from '../../../test/lab/origins/registry.js'

// The packet filter and a real Docker engine beside each other: neither undoes what the other has set.

const folder = mkdtempSync(join(tmpdir(), 'discobot-image-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const image = makeImage(join(folder, 'layout'), [65_536])

void t.test(
  "dockerd's rules and ours hold, also after it was started again",
  { skip: NEEDS_ROOT },
  async (t) => {
    const certificates = await makeOriginCertificates(
      t,
      [REGISTRY_HOST],
      `allowlist: { enabled: true, domains: [${REGISTRY_HOST}] }\n`,
    )
    const { container, shell, tryShell } = await bootContainer(t, certificates, {
      env: { DISCOBOT_DOCKER: 'rootful' },
      prepare: `${PREPARE_OUTSIDE}ip link del docker0\n`,
      readOnly: [folder],
    })
    const registry = await startRegistry(container, certificates)
    await registry.push(image.layout, 'team/app:1')
    await shell(`${DOCKER} pull -q ${REGISTRY_HOST}/team/app:1`)
    t.match(
      await shell(`${DOCKER} image ls -q ${REGISTRY_HOST}/team/app:1`),
      /^[0-9a-f]+$/m,
      'a pull by the proxy',
    )

    // A shell with curl of this very machine, in a network of dockerd's own making.
    await container.exec(`set -e; mkdir -p /tmp/base/bin; cp /usr/bin/python3 /tmp/base/bin/python3
for library in $(ldd /usr/bin/python3 | grep -o '/[^ ]*'); do mkdir -p /tmp/base$(dirname $library); cp -L $library /tmp/base$library; done
mkdir -p /tmp/base/usr/lib; cp -r /usr/lib/python3* /tmp/base/usr/lib/; tar c -C /tmp/base . | ${DOCKER} import - base >/dev/null`)
    const nested = (words: string, code: string): Promise<{ stdout: string; stderr: string }> =>
      container.exec(`${DOCKER} run --rm ${words} base /bin/python3 -S -c "${code}"`)
    const out =
      "import socket; s=socket.create_connection(('203.0.113.10',80),5); s.send(b'GET / HTTP/1.0\\r\\n\\r\\n'); print(s.recv(999))"
    const proxy =
      "import socket; s=socket.create_connection(('172.17.0.1',17080),5); s.send(b'GET http://203.0.113.10/ HTTP/1.1\\r\\nHost: 203.0.113.10\\r\\nConnection: close\\r\\n\\r\\n'); print(s.recv(999))"
    const expectWall = async (when: string): Promise<void> => {
      await shell(`${DOCKER} network create own`)
      for (const words of ['', '--network own']) {
        const { stdout, stderr } = await nested(words, out)
        t.notMatch(stdout, /OUTSIDE/, `${when}: ${words || 'the default bridge'}`)
        t.match(stderr, /ConnectionRefusedError|No route/, `${when}: at once`)
      }
      await shell(`${DOCKER} network rm own`)
      const asked = await nested('', proxy)
      t.match(asked.stdout, /403 Forbidden.*not in allowlist/s, `${when}: by the proxy ${asked.stderr}`)
      t.notMatch((await tryShell(AROUND)).stdout, /OUTSIDE/)
      t.equal(await arrived(container), 0, `${when}: no packet has come`)
      const { stdout: rules } = await container.exec(
        'iptables-nft -t nat -S 2>/dev/null; iptables-legacy -t nat -S 2>/dev/null; nft list table inet discobot',
      )
      t.match(rules, /MASQUERADE/, `${when}: dockerd's rules`)
      t.match(rules, /meta skuid/, `${when}: ours`)
    }
    await expectWall('after the start')
    await container.exec(
      `'${process.execPath}' '${join(process.cwd(), 'dist/agent/main.js')}' restart dockerd`,
    )
    await expectWall('after another start')
    t.equal(await container.stop(), 0)
  },
)

void t.test(
  'a rootless engine is behind it, whatever its containers may do',
  { skip: NEEDS_ROOT },
  async (t) => {
    const certificates = await makeOriginCertificates(
      t,
      [REGISTRY_HOST],
      `allowlist: { enabled: true, domains: [${REGISTRY_HOST}] }\negress: { own_ports: [443] }\n`,
    )
    const { container, shell, tryShell, status } = await bootContainer(t, certificates, {
      env: { DISCOBOT_DOCKER: 'auto' },
      prepare: `${PREPARE_OUTSIDE}ip link del docker0\n`,
      readOnly: [folder],
    })
    t.match((await status()).wall, { level: 2, name: 'enforced' })
    const registry = await startRegistry(container, certificates)
    await registry.push(image.layout, 'team/app:1')
    await shell(`${DOCKER} pull -q ${REGISTRY_HOST}/team/app:1`)
    await shell(`set -e; folder=$(mktemp -d); cd "$folder"; mkdir -p tmp etc proc
for file in /usr/bin/curl $(ldd /usr/bin/curl | grep -o '/[^ ]*'); do mkdir -p ".$(dirname $file)"; cp -L $file .$file; done
tar -cf - . | ${DOCKER} import - small >/dev/null`)
    const ask = async (words: string, how: string): Promise<string> => {
      const { stdout, stderr } = await tryShell(
        `${DOCKER} run --rm ${words} small curl -sS -m 5 ${how} http://203.0.113.10/`,
      )
      return stdout + stderr
    }
    for (const words of ['', '--network host', '--privileged --network host --pid host', '--cap-add ALL']) {
      t.match(await ask(words, "--noproxy '*'"), /curl: \(\d+\)/, `${words}: nothing comes`)
      // On the engine's own network the bridge's address is not the proxy's.
      if (words.includes('host')) continue
      t.match(
        await ask(words, '-x http://172.17.0.1:17080'),
        /not in allowlist/,
        `${words}: but by the proxy`,
      )
    }
    t.equal(await arrived(container), 0, 'no packet has come')
    t.equal(await container.stop(), 0)
  },
)
