import { join } from 'node:path'
import t from 'tap'
import { NEEDS_ROOT, stored } from '../../../test/lab/booted.js'
import { allIsWell, bootBesideOrigins } from './booted-beside-origins.js'
import { BUILT } from '../../../test/lab/isolated.js'

void t.test('with the cache’s disk full, traffic goes on uncached', { skip: NEEDS_ROOT }, async (t) => {
  const lab = await bootBesideOrigins(
    t,
    { prepare: 'mkdir -p /.data/proxy/cache; mount -t tmpfs -o size=1m tmpfs /.data/proxy/cache\n' },
    // Otherwise nothing would be stored there at all.
    'cache: { min_free: 0 }\n',
  )
  const { shell, site, container } = lab
  const large = site.addBlob(5 * 1024 * 1024)
  const small = site.addBlob(10_000)
  const fetched = async (digest: string): Promise<string> => {
    const url = `https://web.test/v2/app/blobs/sha256:${digest}`
    return shell(`cd /tmp && curl -sSf -D head -o body ${url} && sha256sum <body && cat head`)
  }
  for (let time = 0; time < 2; time += 1) {
    const answer = await fetched(large)
    t.match(answer, `${large}  -`, 'whole and right')
    t.match(answer, /^X-Cache: MISS\r?$/im)
  }
  await container.logged(/ENOSPC/)
  const { stores, hits, errors } = await lab.stats()
  t.match({ stores, hits }, { stores: 0, hits: 0 })
  t.ok(errors >= 1)
  t.same((await container.exec('ls /.data/proxy/cache | grep -v lock')).stdout, '', 'nothing is left of it')

  await fetched(small)
  await stored(lab, 1)
  t.match(await fetched(small), /X-Cache: HIT/i, 'what has room is kept')
  await allIsWell(t, lab)
  t.equal(await container.stop(), 0)
})

void t.test(
  'when upstream closes in the middle of a body, so do we, and nothing of it is kept',
  { skip: NEEDS_ROOT },
  async (t) => {
    const lab = await bootBesideOrigins(t)
    const digest = lab.site.addBlob(2 * 1024 * 1024)
    const path = `/v2/app/blobs/sha256:${digest}`
    // 18: a partial file; 56: the connection was reset; 92: in HTTP/2 the stream was.
    for (const broken of [path, path, '/plain']) {
      const { code, stderr } = await lab.tryShell(`curl -sS -o /tmp/body https://cut.test${broken}`)
      t.match(String(code), /^(18|56|92)$/, stderr)
    }
    t.match(await lab.stats(), { stores: 0, current_size: 0 })
    const whole = await lab.shell(`curl -sSf https://web.test${path} | sha256sum`)
    t.equal(whole, `${digest}  -\n`, 'the same digest from a server that keeps its word')
    await allIsWell(t, lab)
    t.equal(await lab.container.stop(), 0)
  },
)

void t.test(
  'garbage and half-open connections disturb nobody, and are let go of',
  { skip: NEEDS_ROOT },
  async (t) => {
    const lab = await bootBesideOrigins(t)
    const { container, shell } = lab
    await allIsWell(t, lab)
    const proxy = (await lab.status()).services.find(({ name }) => name === 'proxy')?.pid
    const descriptors = `ls /proc/${proxy}/fd | wc -l`
    const before = Number((await container.exec(descriptors)).stdout)

    const rude = join(BUILT, 'agent/test/e2e/rude-client.js')
    const polite = 'for i in $(seq 20); do curl -sSf -m 5 https://web.test/polite || exit 1; done'
    const answers = await shell(`'${process.execPath}' '${rude}' sh -c '${polite}'`)
    t.equal(answers, 'you asked for /polite by way of 2.0 discobot\n'.repeat(20))

    // Connections kept for the next request to the same server may stay, idle ones for up to 30 s.
    const released = `while [ $(${descriptors}) -gt ${before + 5} ]; do sleep 0.1; done`
    t.equal((await container.exec(released, { timeoutMs: 45_000 })).code, 0)
    await allIsWell(t, lab)
    t.equal(
      (await lab.status()).services.find(({ name }) => name === 'proxy')?.pid,
      proxy,
      'it is still the same process',
    )
    t.equal(await container.stop(), 0)
  },
)
