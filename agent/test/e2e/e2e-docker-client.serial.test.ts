import { once } from 'node:events'
import { join } from 'node:path'
import t from 'tap'
import { bootContainer, NEEDS_ROOT, stored } from '../../../test/lab/booted.js'
import { BUILT } from '../../../test/lab/isolated.js'
import { makeOriginCertificates, ORIGIN_ADDRESS } from '../../../test/lab/origins/origin-certificates.js'
import { blobGets, DOCKER, REGISTRY_HOST, startRegistry } from '../../../test/lab/origins/registry.js'

// docker push, pull, attach and exec, every byte of them by way of the proxy.

const IMAGE = `${REGISTRY_HOST}/team/made-here:1`
const ENGINE_HOST = 'docker.test'
const FORWARD = '127.0.0.2'
const OUR_CA = '/usr/local/share/ca-certificates/discobot-proxy-ca.crt'

const ENGINE_PORT = 2377
/** Each side ends by itself, as through any router. */
const RELAY = `
  const net = require('node:net')
  const server = net.createServer({ allowHalfOpen: true }, (client) => {
    const engine = net.connect({ host: '${ORIGIN_ADDRESS}', port: ${ENGINE_PORT}, allowHalfOpen: true })
    client.pipe(engine).pipe(client)
    client.on('error', () => engine.destroy())
    engine.on('error', () => client.destroy())
  })
  server.listen(2376, '${ORIGIN_ADDRESS}', () => console.log('listening'))`

/** A root for containers: `cat` and what it is linked with. */
const TAR_OF_CAT = `tar -C / -chf - bin/cat $(ldd /bin/cat | grep -o '/lib[^ ]*' | sed 's,^/,,')`

void t.test('an image is pushed, lost, and pulled again', { skip: NEEDS_ROOT }, async (t) => {
  const certificates = await makeOriginCertificates(t, [REGISTRY_HOST])
  const lab = await bootContainer(t, certificates, { env: { DISCOBOT_DOCKER: 'auto' } })
  const { container, shell } = lab
  const registry = await startRegistry(container, certificates)
  const sum = await shell(
    `cd /tmp && head -c 24000000 /dev/urandom >data.bin && tar -cf - data.bin | ${DOCKER} import - ${IMAGE} >&2 && sha256sum <data.bin`,
  )

  await shell(`${DOCKER} push -q ${IMAGE}`)
  const pushed = await registry.requests()
  t.ok(pushed.some((request) => /^PATCH \/v2\/team\/made-here\/blobs\/uploads\//.test(request)))
  t.match(pushed.join('\n'), 'PUT /v2/team/made-here/manifests/1')
  t.match(
    container.logs(),
    /method=PATCH host=registry\.test:443 path=\/v2\/team\/made-here\/blobs\/uploads\//,
  )

  for (const round of ['first', 'second']) {
    await shell(`${DOCKER} rmi ${IMAGE}`)
    t.equal(await shell(`${DOCKER} images -q`), '', 'nothing is left of it')
    await shell(`${DOCKER} pull -q ${IMAGE}`)
    const asked = blobGets(await registry.requests())
    t.equal(asked.length, round === 'first' ? 2 : 0, 'layer and configuration are asked for once')
    // With the manifest, which is asked for by its digest.
    await stored(lab, 3)
    t.equal(
      await shell(
        `id=$(${DOCKER} create ${IMAGE} none) && ${DOCKER} cp "$id":/data.bin - | tar -xO | sha256sum && ${DOCKER} rm "$id" >&2`,
      ),
      sum,
    )
  }
  t.equal(await container.stop(), 0)
})

void t.test(
  'attach and exec reach a Docker elsewhere over TLS, each side ending by itself',
  { skip: NEEDS_ROOT },
  async (t) => {
    const certificates = await makeOriginCertificates(t, [ENGINE_HOST])
    const { certFile, keyFile } = certificates.certificate(ENGINE_HOST)
    const tls = `--tlsverify=false --tlscacert ${certificates.caFile} --tlscert ${certFile} --tlskey ${keyFile}`
    const { container } = await bootContainer(t, certificates, {
      env: {
        DISCOBOT_DOCKER: 'auto',
        DISCOBOT_DOCKERD_ARGS: `--host tcp://${ORIGIN_ADDRESS}:${ENGINE_PORT} ${tls}`,
      },
    })
    // Our own engine is out of reach through the proxy: as another host's it is behind a relay.
    const relay = container.spawnInside([process.execPath, '-e', RELAY])
    if (relay.stdout === null) throw new Error('the relay has no output')
    await once(relay.stdout, 'data')
    const program = join(BUILT, 'agent/test/e2e/connect-forward.js')
    const forward = container.spawnInside([process.execPath, program, FORWARD, `${ENGINE_HOST}:2376`])
    if (forward.stdout === null) throw new Error('the forwarder has no output')
    await once(forward.stdout, 'data')
    // To the client alone, the name leads to the forwarder.
    const shell = async (script: string): Promise<string> => {
      const { stdout, stderr, code } = await container.exec(`unshare --mount bash -e <<'INSIDE'
echo '${FORWARD} ${ENGINE_HOST}' >/tmp/hosts
mount --bind /tmp/hosts /etc/hosts
${script}
INSIDE`)
      if (code !== 0) throw new Error(`${script}\nended with ${code}:\n${stderr}\n${container.logs()}`)
      return stdout
    }
    const remote = `${DOCKER} --host tcp://${ENGINE_HOST}:2376 --tlsverify --tlscacert ${OUR_CA}`
    await shell(`${TAR_OF_CAT} | ${remote} import - cat`)
    const same = async (what: string, command: string): Promise<void> => {
      const [sent, back] = (
        await shell(
          `head -c 5000000 /dev/urandom >/tmp/in && sha256sum </tmp/in && ${remote} ${command} </tmp/in | sha256sum`,
        )
      ).split('\n')
      t.equal(back, sent, what)
    }
    await same('attached', 'run --rm -i --network none cat /bin/cat')
    await shell(`${remote} run -di --name box --network none cat /bin/cat`)
    await same('executed', 'exec -i box /bin/cat')
    // Each leaves its line when both of its sides have ended, which may be after the client has.
    await container.logged(
      /method=POST host=docker\.test:2376 path=\/v[\d.]+\/containers\/\w+\/attach status=101/,
    )
    await container.logged(/method=POST host=docker\.test:2376 path=\/v[\d.]+\/exec\/\w+\/start status=101/)
    await shell(`${remote} rm -f box`)
    t.equal(await container.stop(), 0)
  },
)
