import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { bootContainer, NEEDS_ROOT, stored, type Booted } from '../../../test/lab/booted.js'
import { makeImage } from '../../../test/lab/image-fixture.js'
import { BUILT, type Container, type IsolatedSettings } from '../../../test/lab/isolated.js'
import { makeOriginCertificates } from '../../../test/lab/origins/origin-certificates.js'
import { blobGets, DOCKER, REGISTRY_HOST, startRegistry } from '../../../test/lab/origins/registry.js'

// A Docker engine for the workspace's user that gives it the power of an account without rights, and no more.

const PROXY = 'http://172.17.0.1:17080'

/** An image of the machine's own programs, made by the workspace's user. */
const IMAGE = `set -e; folder=$(mktemp -d); cd "$folder"; mkdir -p tmp etc proc
for program in /bin/bash /bin/cat /bin/ls /usr/bin/id /usr/bin/tr /bin/kill /usr/bin/nsenter /usr/bin/curl /usr/bin/stat /bin/sleep "$(command -v ip || echo /sbin/ip)"; do
  for file in $program $(ldd $program | grep -o '/[^ ]*'); do mkdir -p ".$(dirname $file)"; cp -L $file .$file; done
done
ln -s bash bin/sh; tar -cf - . | ${DOCKER} import - small >/dev/null; cd /; rm -rf "$folder"`

/** Leads 127.0.0.1 out of the engine's own loopback and to slirp4netns, as a privileged container can. */
const BY_SLIRP = `echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet; echo 1 >/proc/sys/net/ipv4/conf/tap0/route_localnet
echo 0 >/proc/sys/net/ipv4/conf/tap0/rp_filter; echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter
ip route del local 127.0.0.1 table local; ip route del local 127.0.0.0/8 table local; ip address del 127.0.0.1/8 dev lo
ip route add 127.0.0.1 via 10.0.2.2 dev tap0
curl -s -m 1 http://127.0.0.1:3002/; curl -s -m 1 http://127.0.0.1:17081/health
ip route del 127.0.0.1; ip address add 127.0.0.1/8 dev lo`

/** For the proxy's account alone, which is there before the agent would make it. */
const secretFile = (value: string): string =>
  `useradd --system --user-group --no-create-home discobot-proxy; echo ${value} >/srv/secret
chown discobot-proxy /srv/secret; chmod 400 /srv/secret\n`

const SETTLED = { DISCOBOT_DOCKER: 'auto', DISCOBOT_DOCKER_CLIENT_PROXY: 'on' }

async function bootRootless(t: Test, more = '', settings: IsolatedSettings = {}): Promise<Booted> {
  const certificates = await makeOriginCertificates(t, [], more)
  const booted = await bootContainer(t, certificates, { ...settings, env: { ...SETTLED, ...settings.env } })
  t.match(booted.container.logs(), /boot step done +step=dockerd .*note="rootless, since/)
  await booted.shell(IMAGE)
  return booted
}

async function engineProcesses({ exec }: Container): Promise<string[]> {
  const { stdout } = await exec('ps -e -o pid=,stat=,user:32=,comm=')
  return stdout
    .split('\n')
    .filter((line) => /rootlesskit|slirp4netns|dockerd|containerd|defunct| exe$/.test(line))
}

void t.test(
  'the user of a rootless engine has its containers, and nothing of root’s or the proxy’s',
  { skip: NEEDS_ROOT },
  async (t) => {
    const [inFile, inEnvironment] = [randomBytes(12).toString('hex'), randomBytes(12).toString('hex')]
    const booted = await bootRootless(
      t,
      `secrets:\n  KEY: { hosts: [git.test], env: DISCOBOT_SECRET_KEY }\n  FILE: { hosts: [npm.test], file: /srv/secret }\n`,
      {
        env: { DISCOBOT_SECRET_KEY: inEnvironment },
        prepare: `${secretFile(inFile)}
          useradd --create-home other; echo hers >/home/other/private; chmod 600 /home/other/private
          echo roots >/root/private; chmod 600 /root/private
          mkdir -p /run/netns; ip netns add guest; ip link add v0 type veth peer name v1; ip link set v1 netns guest
          ip address add 10.77.0.1/24 dev v0; ip link set v0 up; ip netns exec guest ip address add 10.77.0.2/24 dev v1
          ip netns exec guest ip link set v1 up; ip netns exec guest ip route add 192.0.2.1 via 10.77.0.1`,
      },
    )
    const { container, shell, tryShell, status } = booted
    const run = async (words: string, script: string): Promise<string> => {
      const { stdout, stderr } = await tryShell(`${DOCKER} run --rm ${words} small sh -c '${script}' 2>&1`)
      return stdout + stderr
    }

    t.match(await run('', 'id -u'), /^0$/m, 'it works')
    const everything = `for file in /h/.data/proxy/certs/ca.key /h/.data/proxy/api-token /h/.data/proxy/config.yaml /h/srv/secret /h/etc/shadow /h/root/private /h/home/other/private /h/.data/proxy-config.json; do cat $file; done
      for pid in /proc/[0-9]* /h/proc/[0-9]*; do cat $pid/environ | tr "\\0" "\\n"; done; ls /h/proc/1/root /h/proc/1/fd
      echo x >/h/etc/passwd.new; echo x >/h/usr/bin/evil; echo x >/h/proc/sys/kernel/core_pattern; kill -0 1; ls /h/.data/docker`
    for (const words of [
      '-v /:/h --privileged --pid=host --network=host --ipc=host',
      '-v /:/h --pid=host --cap-add ALL --security-opt seccomp=unconfined --security-opt apparmor=unconfined',
      '-v /:/h -u 65534',
    ]) {
      const seen = await run(words, everything)
      t.match(seen, /ca\.key: Permission denied/, words)
      for (const secret of [
        'PRIVATE KEY',
        inFile,
        inEnvironment,
        'hers',
        'roots',
        /^root:/m,
        'DISCOBOT_SECRET',
      ])
        t.notMatch(seen, secret, `${words}: ${secret}`)
    }
    const unveiled = await run(
      '--privileged --pid=host',
      `nsenter -t 1 -m -- unshare --mount sh -c "umount -l /proc; cat /proc/*/environ; ls /proc/1/root /proc/1/cwd/"`,
    )
    // The engine's own process 1 is open to it, so this is that of the container.
    t.match(unveiled, /\/proc\/1\/environ: Permission denied/, 'seen, and not looked into')
    t.match(unveiled, /\/proc\/1\/root'?: Permission denied/)
    t.notMatch(unveiled, inEnvironment)
    const made = await container.exec('ls /etc/passwd.new /usr/bin/evil; cat /proc/sys/kernel/core_pattern')
    t.notMatch(made.stdout, /passwd\.new|evil|^x$/m, 'nothing of root’s was written')

    await t.test('folders of the user are what they are in any engine', async (t) => {
      await shell('mkdir -p ~/workspace/shared; cd ~/workspace/shared; echo mine >mine; chmod 600 mine')
      const mount = '-v ~/workspace/shared:/w'
      t.match(await run(mount, 'cat /w/mine; echo it >/w/it'), /mine/)
      t.match(await run(`${mount} -u $(id -u):$(id -g)`, 'cat /w/mine; echo same >/w/same; id -u'), /mine/)
      const [uid] = (await shell('id -u')).split('\n')
      const { stdout } = await container.exec('cd /home/discobot/workspace/shared; stat -c "%n %u %U" *')
      t.match(stdout, `same ${uid} discobot`)
      t.match(stdout, /^it \d+ discobot-docker$/m)
      t.equal(await shell('cat ~/workspace/shared/it'), 'it\n')
      const inside = await run(
        '-v /var/run/docker.sock:/var/run/docker.sock',
        'curl -s --noproxy "*" --unix-socket /var/run/docker.sock http://docker/_ping',
      )
      t.match(inside, /OK/, 'the socket may be mounted')
    })

    await t.test('its containers reach the proxy, and no service of ours', async (t) => {
      const ask = (url: string): Promise<string> =>
        run('', `curl -sS -m 5 --noproxy "" -x ${PROXY} -w "\\n%{http_code}" ${url} 2>&1`)
      t.match(
        await ask('http://nowhere.invalid/'),
        /discobot-proxy: .*\s502\s*$/s,
        'it is the proxy that answers',
      )
      for (const url of ['127.0.0.1:3002/', '192.0.2.1:17081/health', '192.0.2.1:17080/', '10.99.0.1:3002/'])
        t.match(await ask(`http://${url}`), /\n403$/, url)
      for (const address of [
        '127.0.0.1:3002',
        '10.0.2.2:3002',
        '172.17.0.1:3002',
        '192.0.2.1:3002',
        '10.0.2.2:17081',
      ])
        t.match(
          await run('--network=host', `curl -sS -m 5 --noproxy "*" http://${address}/`),
          /curl: \((7|28)\)/,
          address,
        )

      const neighbour = await container.exec('ip netns exec guest curl -sS -m 1 http://192.0.2.1:17080/')
      t.match(neighbour.stderr, /curl: \((7|28)\)/, 'its address of the proxy is for nobody else')

      const privileged = (): Promise<string> => run('--privileged --network=host', BY_SLIRP)
      t.notMatch(await privileged(), /\{/, 'nor by a packet that says 127.0.0.1')
      const guard = '-o lo -m owner --uid-owner discobot-docker -m conntrack --ctstate NEW -j DISCOBOT-ENGINE'
      const off = await container.exec(`iptables -w 5 -D OUTPUT ${guard}`)
      t.equal(off.code, 0, off.stderr)
      t.match(await privileged(), /"status":404.*"status":"ok"/s, 'which would lead there')
    })

    await t.test('it is told as it is, also after a reload', async (t) => {
      await container.exec('kill -HUP 1')
      await container.logged(/configuration read again/)
      const { engine, wall, degraded } = await status()
      t.match(engine, { kind: 'rootless', why: 'secrets are in force (DISCOBOT_SECRET_KEY, FILE, KEY)' })
      t.equal(wall?.withheld, undefined, 'secrets are loaded')
      for (const id of ['keys-unread', 'secrets-unread'])
        t.equal(wall?.promises.find((pledge) => pledge.id === id)?.holds, true, id)
      t.strictSame(degraded, [])
      const agent = `'${process.execPath}' '${join(BUILT, 'agent/main.js')}'`
      t.match(
        await shell(`${agent} status`),
        /^docker +rootless, since secrets are in force.*\n +not stopped: .*workspace's user/m,
      )
      t.match((await container.exec(`${agent} doctor`)).stdout, /docker.*rootless, since secrets/)
      t.match(await shell('stat -L -c "%U %G %a" /var/run/docker.sock'), 'discobot-docker discobot 1660')
    })
    t.equal(await container.stop(), 0)
  },
)

void t.test(
  'an image is pulled through the proxy, and comes out of its cache the second time',
  { skip: NEEDS_ROOT },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'discobot-image-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    const image = makeImage(join(folder, 'layout'), [8 * 1024 * 1024, 4_321])
    // The registry listens in the container, where it is out of reach for the engine as for any neighbour.
    const certificates = await makeOriginCertificates(t, [REGISTRY_HOST], 'egress: { own_ports: [443] }\n')
    const lab = await bootContainer(t, certificates, {
      env: { ...SETTLED, DISCOBOT_DOCKER: 'rootless' },
      readOnly: [folder],
    })
    const { container, shell } = lab
    t.match((await lab.status()).engine, { kind: 'rootless', why: 'DISCOBOT_DOCKER is "rootless"' })
    const registry = await startRegistry(container, certificates)
    await registry.push(image.layout, 'team/app:1')
    await registry.requests()
    const name = `${REGISTRY_HOST}/team/app:1`
    await shell(`${DOCKER} pull -q ${name}`)
    t.strictSame([...blobGets(await registry.requests())].sort(), [...image.blobs].sort())
    await stored(lab, image.blobs.length + 1)
    await shell(`${DOCKER} rmi ${name}; ${DOCKER} image prune -af`)
    await shell(`${DOCKER} pull -q ${name}`)
    t.strictSame(blobGets(await registry.requests()), [], 'no blob is asked for again')
    const layers = await shell(`${DOCKER} image inspect --format '{{json .RootFS.Layers}}' ${name}`)
    t.strictSame(
      JSON.parse(layers),
      image.layers.map((layer) => layer.diffId),
    )

    // What update-ca-certificates does for a certificate of the operator's.
    const pid = async (): Promise<string> => (await container.exec('pgrep -x rootlesskit')).stdout
    const before = await pid()
    await container.exec(
      'cat /etc/ssl/certs/ISRG_Root_X1.pem >>/etc/ssl/certs/ca-certificates.crt; kill -HUP 1',
    )
    await container.logged(/configuration read again/)
    t.not(await pid(), before, 'with other certificates it is started anew')
    t.match(await shell(`${DOCKER} images`), /registry\.test\/team\/app/)
    t.equal(await container.stop(), 0)
  },
)

void t.test(
  'killed, it is started anew; stopped, nothing of it is left, and its containers were told',
  { skip: NEEDS_ROOT },
  async (t) => {
    const { container, shell } = await bootRootless(t, '', { env: { DISCOBOT_DOCKER: 'rootless' } })
    const pidOf = async (name: string): Promise<string> =>
      (await container.exec(`pgrep -x ${name}`)).stdout.trim()
    for (const victim of ['rootlesskit', 'dockerd', 'slirp4netns']) {
      await shell(`${DOCKER} run -d --name ${victim} small sleep 1000`)
      const before = await pidOf('rootlesskit')
      await container.exec(`kill -9 ${await pidOf(victim)}`)
      for (;;) {
        const now = await pidOf('rootlesskit')
        const { code } = await container.exec(`${DOCKER} info`)
        if (now !== '' && now !== before && code === 0) break
      }
      const left = await container.exec('pgrep -fx "sleep 1000"')
      t.equal(left.stdout, '', `${victim}: its containers have ended with it`)
      // Orphans that have ended are process 1's to wait for.
      let running = await engineProcesses(container)
      while (running.some((line) => /^ *\d+ Z/.test(line))) running = await engineProcesses(container)
      t.equal(running.filter((line) => /slirp4netns/.test(line)).length, 1, running.join('\n'))
      t.equal(running.length, 5, 'each of it once')
      t.match(await shell(`${DOCKER} run --rm small id -u`), '0', 'the next one works')
    }
    const mounts = await container.exec('grep -c docker-rootless /proc/self/mountinfo')
    t.equal(mounts.stdout.trim(), '0', 'its mounts are its own')

    // Ends by itself when told, and says so in a folder of the user's.
    await shell(`mkdir -p ~/workspace/told; chmod 777 ~/workspace/told
      ${DOCKER} run -d -v ~/workspace/told:/told small bash -c 'trap "echo told >/told/it; exit" TERM; while :; do sleep 0.1; done'`)
    await container.exec(`while ! pgrep -f 'trap .echo told' >/dev/null; do :; done`)
    const asked = performance.now()
    t.equal(await container.stop(), 0)
    t.ok(performance.now() - asked < 20_000)
    t.match(container.logs(), /service stopped +service=dockerd how=ended/)
    t.match(container.logs(), /stopped +exitCode=0 ms=\d+ killed=none/)
    const { execFileSync } = await import('node:child_process')
    const left = execFileSync('find', [container.dataDir, '-path', '*told/it'], { encoding: 'utf8' })
    t.not(left, '', 'the container had its SIGTERM')
  },
)

void t.test(
  'where a rootless engine cannot run, a secret is loaded and there is no engine, never a rootful one',
  { skip: NEEDS_ROOT },
  async (t) => {
    const secret = 'secrets:\n  KEY: { hosts: [git.test], file: /srv/secret }\n'
    const none = async (prepare: string, why: RegExp): Promise<void> => {
      const certificates = await makeOriginCertificates(t, [], secret)
      const { container, shell, status } = await bootContainer(t, certificates, {
        env: { DISCOBOT_DOCKER: 'auto' },
        prepare: `${secretFile('it')}${prepare}\n`,
      })
      const { degraded, wall } = await status()
      t.match(degraded, [why])
      t.equal(wall?.withheld, undefined)
      t.notMatch(await shell(`${DOCKER} ps 2>&1 || true`), /CONTAINER/)
      t.strictSame(await engineProcesses(container), [])
      t.equal(await container.stop(), 0)
    }
    await none(
      'umount /dev/net/tun; rm /dev/net/tun',
      /^dockerd: .*refused, since secrets are in force \(KEY\).*no \/dev\/net\/tun.*; .*DISCOBOT_DOCKER=rootful/,
    )
    const broken = (name: string): string =>
      `printf '#!/bin/sh\\necho "$0: not permitted here" >&2; exit 1\\n' >/usr/local/bin/${name}; chmod 755 /usr/local/bin/${name}`
    await none(broken('rootlesskit'), /^dockerd: .*not permitted here/)
    await none(
      broken('unshare'),
      /^dockerd: .*may make no namespaces \(.*not permitted here\); run the container with/,
    )

    const certificates = await makeOriginCertificates(t, [], secret)
    const { container, status } = await bootContainer(t, certificates, {
      env: { DISCOBOT_DOCKER: 'rootful' },
      prepare: secretFile('it'),
    })
    const { engine, wall } = await status()
    t.match(engine, { kind: 'rootful', notStopped: [/root in the container/] })
    t.match(wall?.withheld, { names: ['KEY'], remedy: /rootless or off/ }, 'named, it keeps secrets away')
    t.equal(await container.stop(), 0)
  },
)

void t.test(
  'it runs without rights over mounts and networks, which a rootful one needs, and says what is missing then',
  { skip: NEEDS_ROOT },
  async (t) => {
    const certificates = await makeOriginCertificates(t, [])
    const { container, shell, status } = await bootContainer(t, certificates, {
      env: { DISCOBOT_DOCKER: 'rootless' },
      command: [
        ...(['setpriv', '--bounding-set=-sys_admin,-net_admin', '--'] as const),
        ...[process.execPath, join(BUILT, 'agent/main.js'), 'run'],
      ],
      prepare: `umount /dev/net/tun; rm /dev/net/tun; mknod -m 666 /dev/net/tun c 10 200
        cd /usr/bin; chmod u-s newuidmap newgidmap; setcap cap_setuid+ep newuidmap; setcap cap_setgid+ep newgidmap\n`,
    })
    const { engine, degraded } = await status()
    t.match(engine, {
      kind: 'rootless',
      limits: [/reach the proxy .*--cap-add NET_ADMIN/, /loopback of this one/],
    })
    t.match(degraded.join('\n'), /dockerd: dockerd runs with limits: neither it nor its containers/)
    await shell(IMAGE)
    t.match(
      await shell(
        `${DOCKER} run --rm -v /:/h small sh -c 'id -u; cat /h/.data/proxy/certs/ca.key 2>&1 || true'`,
      ),
      /^0\n.*denied/,
    )
    t.equal(await container.stop(), 0)
  },
)
