import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'
import { bootContainer, NEEDS_ROOT, stored } from '../../../test/lab/booted.js'
import { makeImage } from '../../../test/lab/image-fixture.js'
import { BUILT } from '../../../test/lab/isolated.js'
import { makeOriginCertificates } from '../../../test/lab/origins/origin-certificates.js'
import { DOCKER } from '../../../test/lab/origins/registry.js'

// Registries that redirect to a network of other hosts, by addresses that are never the same twice.

const MIB = 1024 * 1024

void t.test(
  'an image pulled from one registry is had from another without a request for a blob',
  { skip: NEEDS_ROOT },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'discobot-image-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    const image = makeImage(join(folder, 'layout'), [8 * MIB, 4 * MIB, MIB, 100_000, 4_321])
    const certificates = await makeOriginCertificates(t, ['one.test', 'two.test', 'auth.test', 'cdn.test'])
    const lab = await bootContainer(t, certificates, {
      env: { DISCOBOT_DOCKER: 'auto' },
      readOnly: [folder],
    })
    const { container, shell } = lab
    const program = join(BUILT, 'agent/test/e2e/cdn-registry.js')
    const { stdout } = container.spawnInside([process.execPath, program, certificates.folder, image.layout])
    if (stdout === null) throw new Error('the registries have no output')
    const seen: string[] = []
    await new Promise<void>((resolve) => {
      createInterface({ input: stdout }).on('line', (line) => {
        if (line === 'listening') resolve()
        else seen.push(line)
      })
    })
    const asked = (pattern: RegExp): readonly string[] => seen.filter((line) => pattern.test(line))
    const hexes = image.blobs.map((digest) => digest.slice('sha256:'.length)).sort()
    const pullAnew = async (name: string): Promise<void> => {
      await shell(`${DOCKER} images -q | xargs -r ${DOCKER} rmi`)
      await shell(`${DOCKER} pull -q ${name}`)
      const diffIds = await shell(`${DOCKER} image inspect --format '{{json .RootFS.Layers}}' ${name}`)
      t.strictSame(
        JSON.parse(diffIds),
        image.layers.map((layer) => layer.diffId),
        name,
      )
    }

    await pullAnew('one.test/team/app:1')
    // The manifest too: dockerd asks for it by its digest.
    await stored(lab, image.blobs.length + 1)
    t.equal(asked(/^one\.test GET .*\/blobs\/\S+ 307$/).length, image.blobs.length)
    const fetched = asked(/^cdn\.test GET \S+ 200$/)
    t.strictSame(fetched.map((line) => /[0-9a-f]{64}/.exec(line)?.[0]).sort(), hexes)
    t.strictSame(asked(/^cdn\.test .* [45]\d\d$/), [], 'no credentials of the registry came along')

    seen.length = 0
    await pullAnew('one.test/team/app:1')
    await pullAnew('two.test/other/name:1')
    t.ok(
      asked(/^two\.test (GET|HEAD) \/v2\/other\/name\/manifests\/1 200$/).length > 0,
      'the tag is asked for',
    )
    t.strictSame(asked(/blobs|^cdn\.test/), [], 'no blob is')
    t.notMatch(container.logs(), /Signature=/, 'and no signature is in the log')
    t.equal(await container.stop(), 0)
  },
)
