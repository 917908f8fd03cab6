import t from 'tap'
import { NEEDS_ROOT } from '../../../test/lab/booted.js'
import { startIsolated, type Container, type IsolatedSettings } from '../../../test/lab/isolated.js'
import { DOCKER } from '../../../test/lab/origins/registry.js'

const UP = /Discobot is up.*Try next.*\n\n/s

interface Scope {
  teardown(clean: () => Promise<void> | void): void
}

async function boot(t: Scope, settings: IsolatedSettings): Promise<Container> {
  const container = await startIsolated(t, settings)
  await container.logged(UP)
  return container
}

/** In a login shell of the user's, who is in the group and nothing more. */
async function docker(container: Container, words: string): Promise<string> {
  const { stdout, stderr, code } = await container.exec(`${DOCKER} ${words}`, {
    user: 'discobot',
    login: true,
  })
  if (code !== 0) throw new Error(`docker ${words} ended with ${code}:\n${stderr}\n${container.logs()}`)
  return stdout.trim()
}

const INFO = `info --format '{{.Driver}} {{.HTTPProxy}} {{json .Labels}} {{.DockerRootDir}}'`
const pidOf = async (container: Container): Promise<string> =>
  (await container.exec('ps -e -o pid=,comm= | awk \'$2 == "dockerd" { print $1 }\'')).stdout.trim()

void t.test(
  'dockerd comes up with what works here, and one line says what that is',
  { skip: NEEDS_ROOT },
  async (t) => {
    const container = await boot(t, {
      // A way out that is narrower than usual, and pid files of an earlier life: 1 is alive, and it is us.
      prepare: `ip link add out0 type bridge; ip link set out0 mtu 1400 up
        ip addr add 10.77.0.2/24 dev out0; ip route add default via 10.77.0.1
        mkdir -p /run/docker/containerd; echo 1 >/run/docker.pid; echo 1 >/run/docker/containerd/containerd.pid`,
    })
    t.match(
      container.logs(),
      /step=dockerd .*\/var\/run\/docker\.sock, storage overlay2, iptables (nft|legacy), mtu 1400 of out0, proxy by environment, cgroups/,
    )
    t.notMatch(container.logs(), /degraded/)
    const { stdout } = await container.exec('stat -c "%U %G %a" /var/run/docker.sock')
    t.equal(stdout, 'root docker 660\n')
    t.equal(await docker(container, INFO), 'overlay2 http://127.0.0.1:17080 [] /.data/docker')
    const mtu = `network inspect bridge --format '{{index .Options "com.docker.network.driver.mtu"}}'`
    t.equal(await docker(container, mtu), '1400')

    const before = await pidOf(container)
    await container.exec('kill -HUP 1')
    await container.logged(/configuration read again/)
    t.equal(await pidOf(container), before, 'nothing has changed')
    // What update-ca-certificates does for a certificate of the operator's.
    await container.exec(
      'cat /etc/ssl/certs/ISRG_Root_X1.pem >>/etc/ssl/certs/ca-certificates.crt; kill -HUP 1',
    )
    await container.logged(/the trusted certificates have changed: dockerd is started anew/)
    await container.logged(/configuration read again[^]*configuration read again/)
    t.not(await pidOf(container), before)
    t.match(await docker(container, INFO), /^overlay2/, 'and it answers')
    t.equal(await container.stop(), 0)
  },
)

void t.test(
  "the operator's file and arguments overrule ours, and nothing is said twice",
  { skip: NEEDS_ROOT },
  async (t) => {
    const file = {
      'data-root': '/.data/elsewhere',
      'storage-driver': 'vfs',
      'log-level': 'error',
      group: 'docker',
      mtu: 1300,
      hosts: ['unix:///var/run/docker.sock'],
    }
    const container = await boot(t, {
      env: { DISCOBOT_PROXY: 'off', DISCOBOT_DOCKERD_ARGS: '--label=who=operator --debug' },
      prepare: `mkdir -p /etc/docker; echo '${JSON.stringify(file)}' >/etc/docker/daemon.json`,
    })
    t.match(container.logs(), /step=dockerd .*storage vfs, as set, iptables \w+, mtu \d+, no proxy/)
    t.equal(await docker(container, INFO), 'vfs  ["who=operator"] /.data/elsewhere')
    t.equal(await container.stop(), 0)
  },
)

void t.test(
  "where the image's iptables and the kernel's overlays do not work, dockerd runs with others",
  { skip: NEEDS_ROOT },
  async (t) => {
    const broken = `printf '#!/bin/sh\\necho "$0: not supported here" >&2; exit 3\\n'`
    const container = await boot(t, {
      env: { DISCOBOT_PROXY: 'off', DISCOBOT_DATA_DIR: '/var/lib/data', DISCOBOT_OVERLAY: 'off' },
      prepare: `for name in iptables iptables-nft; do ${broken} >/usr/local/sbin/$name; chmod 755 /usr/local/sbin/$name; done`,
    })
    t.match(container.logs(), /step=dockerd .*storage fuse-overlayfs, iptables legacy, since/)
    t.notMatch(container.logs(), /degraded/)
    const { stdout } = await container.exec('iptables-legacy -t nat -S')
    t.match(stdout, /-A POSTROUTING -s 172\.17\.0\.0\/16 ! -o docker0 -j MASQUERADE/)
    // A layer, a container over it, and the change of one that the other does not see.
    const { stdout: seen, stderr } = await container.exec(`set -e; cd /tmp; echo base >file
      tar c file | ${DOCKER} import - one >/dev/null
      for name in first second; do ${DOCKER} create --name $name one x >/dev/null; done
      echo changed >file; ${DOCKER} cp file first:/file 2>/dev/null
      for name in first second; do ${DOCKER} cp $name:/file - | tar xO; done`)
    t.equal(seen, 'changed\nbase\n', stderr)
    t.equal(await container.stop(), 0)

    const bare = await boot(t, {
      env: { DISCOBOT_PROXY: 'off', DISCOBOT_DATA_DIR: '/var/lib/data', DISCOBOT_OVERLAY: 'off' },
      prepare: `for name in iptables iptables-nft iptables-legacy; do ${broken} >/usr/local/sbin/$name; chmod 755 /usr/local/sbin/$name; done
        umount /dev/fuse; rm /dev/fuse`,
    })
    t.match(
      bare.logs(),
      /boot step degraded .*step=dockerd .*dockerd runs with limits: storage driver vfs copies .*; containers reach no network .*not supported here/,
    )
    t.equal(await docker(bare, `info --format '{{.Driver}}'`), 'vfs')
    t.equal(await bare.stop(), 0)
  },
)
