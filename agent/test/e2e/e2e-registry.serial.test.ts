import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { bootContainer, NEEDS_ROOT, stored, type Booted } from '../../../test/lab/booted.js'
import { LARGE_IMAGE, makeImage } from '../../../test/lab/image-fixture.js'
import { BUILT, type Container } from '../../../test/lab/isolated.js'
import { makeOriginCertificates } from '../../../test/lab/origins/origin-certificates.js'
import {
  blobGets,
  DOCKER,
  REGISTRY_HOST,
  startRegistry,
  type Registry,
} from '../../../test/lab/origins/registry.js'

const IMAGE = `${REGISTRY_HOST}/team/app:1`

const folder = mkdtempSync(join(tmpdir(), 'discobot-image-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const image = makeImage(join(folder, 'layout'), LARGE_IMAGE)

/** Beside a registry that holds the image and that only the proxy trusts. */
async function startPullLab(
  t: Test,
  docker: 'auto' | 'off',
): Promise<Booted & { readonly registry: Registry }> {
  const certificates = await makeOriginCertificates(t, [REGISTRY_HOST])
  const booted = await bootContainer(t, certificates, {
    env: { DISCOBOT_DOCKER: docker },
    readOnly: [folder],
  })
  const registry = await startRegistry(booted.container, certificates)
  await registry.push(image.layout, 'team/app:1')
  await registry.requests()
  return { ...booted, registry }
}

void t.test(
  'skopeo copies an image twice, and its blobs leave the registry once',
  { skip: NEEDS_ROOT },
  async (t) => {
    t.ok(image.layers.length >= 3 && image.bytes > 100 * 1024 * 1024, 'an image worth caching')
    const lab = await startPullLab(t, 'off')
    const { container, registry, shell } = lab
    const copy = (to: string): Promise<string> => shell(`skopeo copy -q docker://${IMAGE} dir:/tmp/${to}`)

    await copy('first')
    t.strictSame([...blobGets(await registry.requests())].sort(), [...image.blobs].sort())
    const blobs = image.blobs.length
    t.match(await stored(lab, blobs), { hits: 0, stores: blobs, errors: 0 })

    await copy('second')
    t.strictSame(blobGets(await registry.requests()), [], 'no blob is asked for again')
    t.match(await lab.stats(), { hits: blobs, stores: blobs, errors: 0 })
    for (const digest of image.blobs) {
      t.equal(cacheLines(container, 'miss', digest), 1, `${digest} was fetched once`)
      t.equal(cacheLines(container, 'hit', digest), 1, `${digest} was served from the cache once`)
      const head = await shell(
        `curl -sS -D - -o /dev/null https://${REGISTRY_HOST}/v2/team/app/blobs/${digest}`,
      )
      t.match(head, /^X-Cache: HIT\r?$/im)
    }
    for (const copied of ['first', 'second']) {
      const sums = await shell(`cd /tmp/${copied} && sha256sum ${image.blobs.map(hexOf).join(' ')}`)
      t.equal(sums, image.blobs.map((digest) => `${hexOf(digest)}  ${hexOf(digest)}\n`).join(''))
    }
  },
)

void t.test(
  'a push takes nothing from the store for what its registry has: it is whole, also after that has lost it',
  { skip: NEEDS_ROOT },
  async (t) => {
    const certificates = await makeOriginCertificates(t, [REGISTRY_HOST, 'second.test'])
    const { container, shell } = await bootContainer(t, certificates, {
      env: { DISCOBOT_DOCKER: 'off' },
      readOnly: [folder],
    })
    const first = await startRegistry(container, certificates)
    await first.push(image.layout, 'team/app:1')
    const second = await startRegistry(container, certificates, { host: 'second.test', port: 5443 })
    await shell(`skopeo copy -q docker://${IMAGE} dir:/tmp/pulled`)
    const uploads = (requests: readonly string[]): number =>
      requests.filter((request) => /^PUT \/v2\/.+\/blobs\/uploads\//.test(request)).length

    for (const name of ['other/app', 'again/app']) {
      await second.requests()
      await shell(`skopeo copy -q docker://${IMAGE} docker://second.test:5443/${name}:1`)
      t.ok(uploads(await second.requests()) > 0, 'it was asked what it has, and said nothing')
      // Past the proxy: all of it is there.
      const pulled = await container.exec(
        `SSL_CERT_FILE='${certificates.caFile}' skopeo copy -q docker://second.test:5443/${name}:1 dir:/tmp/${name.replace('/', '-')}`,
      )
      t.equal(pulled.code, 0, pulled.stderr)
    }
    // What a garbage collection may have removed: it has said yes to each of them before.
    await shell(`skopeo copy -q docker://second.test:5443/other/app:1 dir:/tmp/warm`)
    const lost = await container.exec('rm -rf /tmp/second.test/docker')
    t.equal(lost.code, 0, lost.stderr)
    await shell(`skopeo copy -q docker://${IMAGE} docker://second.test:5443/other/app:1`)
    t.ok(uploads(await second.requests()) >= image.blobs.length)
    t.equal(await container.stop(), 0)
  },
)

void t.test(
  'an image that was prewarmed is copied without a blob from the registry, also where the cache has been carried to',
  { skip: NEEDS_ROOT },
  async (t) => {
    const lab = await startPullLab(t, 'off')
    const { container, registry, shell } = lab
    const proxy = `'${process.execPath}' '${join(BUILT, 'proxy/main.js')}'`
    t.match(await shell(`${proxy} prewarm ${IMAGE}`), /^done: \d+ fetched/m)
    t.strictSame([...new Set(blobGets(await registry.requests()))].sort(), [...image.blobs].sort())
    await shell(`skopeo copy -q docker://${IMAGE} dir:/tmp/copy`)
    t.strictSame(blobGets(await registry.requests()), [], 'no blob is asked for again')

    const carried = await container.exec(
      `cd /tmp && ${proxy} export -o warm.tar && rm -rf other && DISCOBOT_DATA_DIR=/tmp/other ${proxy} import warm.tar`,
    )
    t.equal(carried.code, 0, carried.stderr)
    t.match(carried.stderr, /^imported \d+ entries/m)
    t.equal(await container.stop(), 0)
  },
)

void t.test(
  'the dockerd of the container pulls an image, loses it, and has it again without the registry’s blobs',
  { skip: NEEDS_ROOT },
  async (t) => {
    const lab = await startPullLab(t, 'auto')
    const { container, registry, shell } = lab
    t.match(container.logs(), /service ready.*service=dockerd/)
    const pull = (): Promise<string> => shell(`${DOCKER} pull -q ${IMAGE}`)

    await pull()
    // The manifest too: dockerd asks for it by its digest.
    await stored(lab, image.blobs.length + 1)
    t.strictSame([...blobGets(await registry.requests())].sort(), [...image.blobs].sort())
    await shell(`${DOCKER} rmi ${IMAGE}`)
    t.equal(await shell(`${DOCKER} images -q`), '', 'nothing is left of it')

    await pull()
    t.strictSame(blobGets(await registry.requests()), [], 'no blob is asked for again')
    for (const digest of image.blobs) t.equal(cacheLines(container, 'hit', digest), 1, digest)
    const diffIds = await shell(`${DOCKER} image inspect --format '{{json .RootFS.Layers}}' ${IMAGE}`)
    t.strictSame(
      JSON.parse(diffIds),
      image.layers.map((layer) => layer.diffId),
    )
    const files = image.layers.map((layer) => layer.file)
    const sums = await shell(
      `mkdir /tmp/root && cd /tmp/root && ${DOCKER} export "$(${DOCKER} create ${IMAGE})" | tar -x
       sha256sum ${files.map((file) => file.name).join(' ')}`,
    )
    t.equal(sums, files.map((file) => `${file.sha256}  ${file.name}\n`).join(''))
    t.equal(await container.stop(), 0)
  },
)

function cacheLines(container: Container, kind: 'hit' | 'miss', digest: string): number {
  return container
    .logs()
    .split('\n')
    .filter((line) => line.includes(`cache ${kind}`) && line.includes(digest)).length
}

function hexOf(digest: string): string {
  return digest.slice('sha256:'.length)
}
