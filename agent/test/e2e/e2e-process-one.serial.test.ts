import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { bootContainer, NEEDS_ROOT, stored } from '../../../test/lab/booted.js'
import { makeImage } from '../../../test/lab/image-fixture.js'
import { makeOriginCertificates } from '../../../test/lab/origins/origin-certificates.js'
import { DOCKER, REGISTRY_HOST, startRegistry } from '../../../test/lab/origins/registry.js'

const IMAGE = `${REGISTRY_HOST}/app:1`

void t.test(
  '200 orphaned grandchildren leave no zombie 3 s after their death',
  { skip: NEEDS_ROOT },
  async (t) => {
    const certificates = await makeOriginCertificates(t, [])
    const { container, shell, status } = await bootContainer(t, certificates)
    // Each waits for the other end of the pipe to be opened; its parent is gone by then.
    await shell(
      `mkfifo /tmp/gate; for i in $(seq 200); do sh -c '{ read _ </tmp/gate; exit 3; } >/dev/null 2>&1 & :'; done`,
    )
    const ofProcessOne = `ps -e -o ppid=,stat=,comm= | awk '$1 == 1 && $3 == "sh"`
    t.equal(await shell(`${ofProcessOne}' | wc -l`), '200\n', 'process 1 has adopted them')

    // As soon as one of them is dead all are: the pipe is opened and closed once.
    const left = await shell(
      `: >/tmp/gate; end=$(($(date +%s%N) + 3000000000)); left=200
       while [ $left != 0 ] && [ $(date +%s%N) -lt $end ]; do sleep 0.1; left=$(${ofProcessOne}' | wc -l); done; echo $left`,
    )
    t.equal(left, '0\n', 'neither alive nor a zombie')
    t.equal(await shell("ps -e -o stat= | grep -c '^Z' || true"), '0\n')
    const { reaper, services } = await status()
    t.match(reaper, { backend: 'koffi', zombies: 0 })
    t.ok(reaper.reaped >= 200)
    t.match(services, [
      { name: 'proxy', state: 'ready', restarts: 0 },
      { name: 'agent-api', state: 'ready', restarts: 0 },
    ])
    t.equal(await container.stop(), 0)
  },
)

void t.test(
  'SIGTERM stops agent API, dockerd and proxy in that order; the next start has its CA, cache and images',
  { skip: NEEDS_ROOT },
  async (t) => {
    const dataDir = mkdtempSync(join(tmpdir(), 'discobot-data-'))
    t.teardown(() => rmSync(dataDir, { recursive: true, force: true }))
    const folder = mkdtempSync(join(tmpdir(), 'discobot-image-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    const image = makeImage(join(folder, 'layout'), [300_000, 200_000])
    const certificates = await makeOriginCertificates(t, [REGISTRY_HOST])
    const settings = { dataDir, env: { DISCOBOT_DOCKER: 'auto' }, readOnly: [folder] }
    const fingerprint = 'openssl x509 -noout -fingerprint -sha256 -in "$NODE_EXTRA_CA_CERTS"'

    const first = await bootContainer(t, certificates, settings)
    const registry = await startRegistry(first.container, certificates)
    await registry.push(image.layout, 'app:1')
    await first.shell(`${DOCKER} pull -q ${IMAGE}`)
    const ca = await first.shell(fingerprint)
    // The manifest too: dockerd asks for it by its digest.
    await stored(first, image.blobs.length + 1)
    t.equal(await first.container.stop(), 0)
    const stopped = [...first.container.logs().matchAll(/service stopped .*?service=(\S+) how=(\S+)/g)]
    t.strictSame(
      stopped.map(([, service, how]) => [service, how]),
      [
        ['agent-api', 'ended'],
        ['dockerd', 'ended'],
        ['proxy', 'ended'],
      ],
    )

    // No registry this time: what is served can only come from the data dir.
    const second = await bootContainer(t, certificates, settings)
    t.equal(await second.shell(fingerprint), ca)
    for (const digest of image.blobs) {
      const url = `https://${REGISTRY_HOST}/v2/app/blobs/${digest}`
      const answer = await second.shell(
        `cd /tmp && curl -sSf -D head -o body ${url} && sha256sum <body && cat head`,
      )
      t.match(answer, `${digest.slice('sha256:'.length)}  -`)
      t.match(answer, /^X-Cache: HIT\r?$/im)
    }
    t.match(await second.stats(), { misses: 0, hits: image.blobs.length })
    t.match(await second.shell(`${DOCKER} image inspect --format '{{.RootFS.Layers}}' ${IMAGE}`), /sha256/)
    t.equal(await second.container.stop(), 0)
    t.match(second.container.logs(), /step=ca .*note=reused/)
  },
)
