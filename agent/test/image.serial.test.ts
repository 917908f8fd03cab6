import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { startDockerEngine, type DockerEngine, type Result } from './docker-engine.js'
import { importStandInBase, STAND_IN } from './stand-in-base.js'

const IMAGE = 'discobot-image-test'
const PROXY = 'http://127.0.0.1:17080'

/** Everything the agent needs but what this machine cannot give, and what dockerd inside must not be refused. */
const PRIVILEGES = ['--cap-add=ALL', '--cap-drop=SYS_RESOURCE', '--security-opt', 'seccomp=unconfined']

const BLOB = 'x'.repeat(100_000)
const BLOB_PATH = `/v2/library/test/blobs/sha256:${createHash('sha256').update(BLOB).digest('hex')}`
/** A registry, as far as one blob goes, on a port inside the container. */
const ORIGIN = `require('http').createServer((_, response) => response.end('x'.repeat(${BLOB.length})))
  .listen(9000, '127.0.0.1', () => console.log('listening'))`

// Without its cache it makes a Debian, installs two sets of packages and compiles a bundle first.
t.setTimeout(800_000)

t.test('the image: from its Dockerfile to a second life on the same volume', async (t) => {
  const engine = await startDockerEngine(t)
  const volume = `discobot-test-${process.pid}`
  t.teardown(async () => {
    await engine.tryDocker(['volume', 'rm', '--force', volume])
  })
  let fingerprint = ''

  await t.test('the Dockerfile builds on a stand-in for the slim Debian Node base', async (t) => {
    await importStandInBase(engine)
    const build = [
      'build',
      '--network',
      'host',
      '--build-arg',
      `BASE=${STAND_IN}`,
      '--tag',
      IMAGE,
      projectRoot(),
    ]
    const built = await engine.tryDocker(build)
    t.equal(built.code, 0, built.output.slice(-4_000))
  })

  await t.test('first life', async (t) => {
    const container = await startContainer(t, engine, volume)

    await t.test('process 1 is the agent, and everything is ready, dockerd inside too', async (t) => {
      await container.ready()
      const command = await container.sh(`tr '\\0' ' ' </proc/1/cmdline`)
      t.equal(command.output, 'node /opt/discobot/bin/agent ')
      const status = JSON.parse((await container.sh('discobot-agent status --json')).output) as object
      t.match(status, { phase: 'running', pid: 1, degraded: [] })
      t.match(await container.sh('docker version --format "{{.Server.Version}}"'), { code: 0, output: /^\d/ })
      const api = await container.sh('curl -sS http://localhost:3002/api/status')
      t.match(JSON.parse(api.output), { status: 'ok', proxy: { state: 'ok' } })
    })

    await t.test(
      'services run as their own accounts, and the key of the CA is the proxy’s alone',
      async (t) => {
        const owners = await container.sh(
          `ps -eo user:20,args | grep -E 'bin/(proxy|agent-api)' | grep -v grep | sort`,
        )
        t.match(owners.output, /^discobot +\S*\bnode \/opt\/discobot\/bin\/agent-api/m)
        t.match(owners.output, /^discobot-proxy +\S*\bnode \/opt\/discobot\/bin\/proxy/m)
        const key = await container.sh('stat -c "%U %a" /.data/proxy/certs /.data/proxy/certs/ca.key')
        t.equal(key.output, 'discobot-proxy 700\ndiscobot-proxy 600\n')
        const read = await container.sh('su discobot -c "cat /.data/proxy/certs/ca.key"')
        t.match(read, { code: 1, output: /Permission denied/ })
      },
    )

    await t.test('it is healthy, nothing is wrong with it, and root alone restarts a service', async (t) => {
      t.match(await container.sh('discobot-agent healthcheck'), { code: 0, output: 'healthy\n' })
      t.equal(
        await engine.docker('inspect', '--format', '{{json .Config.Healthcheck.Test}}', container.id),
        '["CMD","/opt/discobot/bin/agent","healthcheck"]\n',
      )
      const doctor = await container.sh('discobot-agent doctor')
      t.equal(doctor.code, 0, doctor.output)
      t.match(await container.sh('su discobot -c "discobot-agent restart agent-api"'), {
        code: 1,
        output: /cannot change anything for you: uid \d+ may only look/,
      })
      const restarted = await container.sh('discobot-agent restart agent-api')
      t.match(restarted, { code: 0, output: /^agent-api is ready, pid \d+\n$/ })
      t.match(await container.sh('su discobot -c "discobot-agent logs -n 1 agent-api"'), {
        code: 0,
        output: / agent-api std(out|err) /,
      })
      const files = await container.sh('stat -c "%U %G %a" /.data/logs /.data/logs/agent.log')
      t.equal(files.output, 'root discobot 750\nroot discobot 640\n')
    })

    await t.test('200 orphaned grandchildren leave no zombie', async (t) => {
      // Each is born to a shell that ends at once, and ends itself when it is process 1's.
      await container.sh('for i in $(seq 200); do (sleep 0.5 &) ; done')
      const gone = await container.sh(`
        for i in $(seq 100); do
          sleep 0.1
          [ "$(ps -eo ppid,stat,comm | awk '$1 == 1 && ($2 ~ /^Z/ || $3 == "sleep")' | wc -l)" = 0 ] && exit 0
        done
        ps -eo pid,ppid,stat,args; exit 1`)
      t.equal(gone.code, 0, gone.output)
      const status = JSON.parse((await container.sh('discobot-agent status --json')).output) as {
        reaper: { reaped: number }
      }
      t.ok(status.reaper.reaped >= 200, `${status.reaper.reaped} reaped`)
    })

    await t.test('the second fetch of a blob comes from the cache', async (t) => {
      const started = await container.sh(`node -e "${ORIGIN}" >/tmp/origin.log & 
        until grep -q listening /tmp/origin.log; do sleep 0.05; done`)
      t.equal(started.code, 0, started.output)
      t.match(await fetchBlob(container), /X-Cache: MISS/i)
      t.match(await fetchBlob(container), /X-Cache: HIT/i)
    })

    await t.test(
      'docker stop ends agent API, dockerd and proxy in that order, with the code 0',
      async (t) => {
        fingerprint = (await container.sh('sha256sum /.data/proxy/certs/ca.crt /.data/proxy/certs/ca.key'))
          .output
        await engine.docker('stop', '--time', '40', container.id)
        t.equal(await engine.docker('inspect', '--format', '{{.State.ExitCode}}', container.id), '0\n')
        const logs = await engine.docker('logs', container.id)
        const stopped = [...logs.matchAll(/service stopped +service=(\S+)/g)].map((match) => match[1])
        t.same(stopped, ['agent-api', 'dockerd', 'proxy'])
      },
    )
  })

  await t.test('a second life on the same volume has the same CA and the same cache', async (t) => {
    const container = await startContainer(t, engine, volume)
    await container.ready()
    const sums = await container.sh('sha256sum /.data/proxy/certs/ca.crt /.data/proxy/certs/ca.key')
    t.equal(sums.output, fingerprint)
    t.match(await fetchBlob(container), /X-Cache: HIT/i, 'with no origin to ask')
    const trusted = await container.sh(
      'openssl verify -CAfile /etc/ssl/certs/ca-certificates.crt /.data/proxy/certs/ca.crt',
    )
    t.equal(trusted.code, 0, trusted.output)
    await engine.docker('stop', '--time', '40', container.id)
    t.equal(await engine.docker('inspect', '--format', '{{.State.ExitCode}}', container.id), '0\n')
  })
})

interface Scope {
  teardown(clean: () => Promise<void> | void): void
}

interface Container {
  readonly id: string
  /** Resolves when the boot is over; rejects with the log when the container ends or takes a minute. */
  ready(): Promise<void>
  /** Runs shell text inside as root. */
  sh(script: string): Promise<Result>
}

async function startContainer(t: Scope, engine: DockerEngine, volume: string): Promise<Container> {
  const run = ['run', '--detach', '--network', 'none', ...PRIVILEGES, '--volume', `${volume}:/.data`, IMAGE]
  const id = (await engine.docker(...run)).trim()
  t.teardown(async () => {
    await engine.tryDocker(['rm', '--force', '--volumes', id])
  })
  const sh = (script: string): Promise<Result> => engine.tryDocker(['exec', id, 'sh', '-c', script])
  return {
    id,
    sh,
    ready: async () => {
      const waited = await sh(
        `for i in $(seq 300); do discobot-agent status --json 2>/dev/null | grep -q '"phase": "running"' && exit 0; sleep 0.2; done; exit 1`,
      )
      if (waited.code !== 0)
        throw new Error(`the container is not ready:\n${await engine.docker('logs', id)}`)
    },
  }
}

/** The head of the answer; the body is checked on the way. */
async function fetchBlob(container: Container): Promise<string> {
  const url = `http://127.0.0.1:9000${BLOB_PATH}`
  const fetched = await container.sh(
    `curl -sS --fail --noproxy '' --proxy ${PROXY} --dump-header - --output /tmp/blob ${url} && sha256sum </tmp/blob`,
  )
  if (!fetched.output.includes(BLOB_PATH.slice(-64)))
    throw new Error(`the blob is not right:\n${fetched.output}`)
  return fetched.output
}

/** The folder of the Dockerfile: this file runs from where it was built to. */
function projectRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(folder, 'Dockerfile')) && folder !== '/') folder = dirname(folder)
  return folder
}
