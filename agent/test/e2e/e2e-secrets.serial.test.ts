import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { bootContainer, NEEDS_ROOT } from '../../../test/lab/booted.js'
import { makeOriginCertificates } from '../../../test/lab/origins/origin-certificates.js'
import { makeOriginSite, ORIGIN_HOSTS, startOrigins } from '../../../test/lab/origins/origin-site.js'

// In a container the agent's user, for whom the secrets do their work, finds none of them anywhere.

const PLACEHOLDER = 'sk-discobot-placeholder'
/** Older than everything that the container writes; what it stands on is the machine's. */
const BEFORE = '/tmp/before'
const ALL_PROCESSES = 'cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null || true'

void t.test(
  'secrets work for the user of a container, who cannot find them',
  { skip: NEEDS_ROOT },
  async (t) => {
    const secret = (name: string): string => `leak-${name}-${randomBytes(12).toString('hex')}`
    const values = { key: secret('key'), swapped: secret('swapped'), git: secret('git'), api: secret('api') }
    const certificates = await makeOriginCertificates(
      t,
      ORIGIN_HOSTS,
      `secrets:
  KEY: { hosts: [web.test], env: DISCOBOT_SECRET_KEY }
  SWAPPED: { hosts: [web.test], env: DISCOBOT_SECRET_SWAPPED, placeholder: ${PLACEHOLDER} }
  GIT: { hosts: [web.test], env: DISCOBOT_GIT_TOKEN }
headers:
  web.test: { set: { X-Key: '\${KEY}', X-Git: '\${GIT}' } }
`,
    )
    const site = makeOriginSite(t)
    const { container, shell, tryShell } = await bootContainer(t, certificates, {
      env: {
        DISCOBOT_SECRET_KEY: values.key,
        DISCOBOT_SECRET_SWAPPED: values.swapped,
        DISCOBOT_GIT_TOKEN: values.git,
        DISCOBOT_API_TOKEN: values.api,
      },
      prepare: `touch ${BEFORE}\n`,
      readOnly: [site.folder],
    })
    await startOrigins(container, site, certificates)

    const digest = (text: string): string => createHash('sha256').update(text).digest('hex')
    const sent = (header: string): Promise<string> =>
      shell(`curl -sS -H 'X-Api-Key: ${PLACEHOLDER}' https://web.test/digest-of/${header}`)
    t.equal(await sent('x-key'), digest(values.key), 'by a header rule')
    t.equal(await sent('x-git'), digest(values.git))
    t.equal(await sent('x-api-key'), digest(values.swapped), 'in the place of what the client sent')

    const apiToken = readFileSync(join(container.dataDir, 'proxy/api-token'), 'utf8').trim()
    const found = (content: string): string[] =>
      Object.entries({ ...values, apiToken }).flatMap(([name, value]) =>
        content.includes(value) ? [name] : [],
      )
    const asRoot = await container.exec(ALL_PROCESSES)
    t.strictSame(
      found(asRoot.stdout),
      ['key', 'swapped', 'git', 'api'],
      'root finds them, so they can be found',
    )
    t.strictSame(found(await shell(ALL_PROCESSES)), [], 'processes')
    t.strictSame(found(await shell('env')), [], 'environment')
    t.not((await tryShell('cat /.data/proxy/api-token')).code, 0)

    const asked = [
      '17081/health',
      '17081/api/config',
      '17081/api/requests',
      '17081/metrics',
      '17081/api/cache/stats',
    ]
    const answers = await shell(
      [...asked, '3002/health', '3002/api/status']
        .map((path) => `curl -sS http://127.0.0.1:${path}`)
        .join('; '),
    )
    t.match(answers, /"X-Git"/i)
    t.strictSame(found(answers), [], 'answers')
    t.strictSame(found(container.logs()), [], 'logs')

    // Its own file is the one place of the token.
    const patterns = [...Object.values(values), apiToken].map((value) => `-e ${value}`).join(' ')
    const files = `find /.data /home /root /etc /run /tmp /var/log /workspace/ -xdev -type f -newer ${BEFORE} ! -name api-token`
    const looked = await container.exec(
      `${files} | tee /tmp/looked-at | xargs -d '\\n' grep -lsF ${patterns}`,
    )
    t.strictSame(looked.stdout, '', 'files')
    t.match(await shell('cat /tmp/looked-at'), '/.data/proxy/config.yaml\n')
    t.equal(await container.stop(), 0)
    t.strictSame(found(container.logs()), [], 'logs to the end')
  },
)
