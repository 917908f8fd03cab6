import { join } from 'node:path'
import { findTool, setprivOf, systemRunAs, type Account } from '../../process/run-as.js'

/** The engine's own: its socket and rootlesskit's state. */
export const ENGINE_RUN_FOLDER = '/run/discobot-docker'
export const ENGINE_SOCKET = join(ENGINE_RUN_FOLDER, 'docker.sock')

/** Never looked up on the engine's PATH, as with setpriv: root runs it. */
const UNSHARE_PATHS: readonly string[] = ['/usr/bin/unshare', '/bin/unshare']
/** slirp4netns(1) is quicker with large packets, and cuts them itself. */
const TAP_MTU = '65520'

interface RootlessCommandOptions {
  readonly account: Account
  /** With CAP_SYS_ADMIN: a view of the devices of its own. */
  readonly ownDevices: boolean
  /** Where the proxy is to be found, as `ADDRESS:PORT`; absent where it is not. */
  readonly proxy?: { readonly address: string; readonly port: number }
  /** dockerd and its arguments. */
  readonly dockerd: readonly string[]
}

/**
 * In a mount namespace of its own, as root: the devices may be for root alone, and their owner here is nobody else's
 * business. What cannot be had is left as it is: rootlesskit says what it misses.
 */
const OWN_DEVICES = `
uid=$1 gid=$2 folder=/run/discobot/engine-devices path=$PATH; shift 2
PATH=/usr/sbin:/usr/bin:/sbin:/bin
own() {
  [ -c /dev/$1 ] || return
  setpriv --reuid="$uid" --regid="$gid" --clear-groups sh -c ': <>"$0"' /dev/$1 2>/dev/null && return
  mknod -m 600 $folder/$3 c $2 $3 && chown "$uid" $folder/$3 && mount --bind $folder/$3 /dev/$1
}
if mkdir -p $folder && mount -t tmpfs -o mode=0755,nosuid,noexec,size=64k discobot $folder; then
  own net/tun 10 200
  own fuse 10 229
fi
PATH=$path
exec "$@"`

/**
 * In rootlesskit's namespaces, where /run and /etc are folders of ours with links to what is outside. The bridge has no
 * address of the proxy's behind it there: who asks any address of the engine's for the proxy's port is led to it.
 *
 * rootlesskit does not notice that slirp4netns has died, for want of memory or by a fault: the engine would go on without
 * a network. Its interface has no carrier then, so dockerd is told to end, and all of it is started anew.
 */
const INSIDE = `
rm -rf /run/docker /run/docker.pid /run/containerd /run/xtables.lock
address=$0 port=$1; shift
if [ -n "$port" ]; then
  iptables -w 5 -t nat -A PREROUTING -p tcp --dport "$port" -m addrtype --dst-type LOCAL -j DNAT --to-destination "$address:$port" ||
    echo "containers reach the proxy at $address only" >&2
fi
while sleep 5; do
  [ "$(cat /sys/class/net/tap0/carrier 2>/dev/null)" = 1 ] && continue
  echo "slirp4netns is gone, and the network with it" >&2
  kill -TERM $$
  exit
done &
exec "$@"`

/**
 * root → the engine's account → rootlesskit: user, mount, network, process, IPC and host name namespaces of its own,
 * and slirp4netns → dockerd. A process namespace, because all in it ends with its first process: nothing of the engine
 * outlives rootlesskit, however that ends.
 *
 * @throws SwitchUserError where util-linux is not installed.
 */
export function rootlessCommand(options: RootlessCommandOptions): readonly [string, ...string[]] {
  const { account, ownDevices, proxy, dockerd } = options
  const asAccount: readonly [string, ...string[]] = [
    setprivOf(account.name, systemRunAs),
    `--reuid=${account.uid}`,
    `--regid=${account.gid}`,
    '--clear-groups',
    '--inh-caps=-all',
    '--',
    'rootlesskit',
    `--state-dir=${join(ENGINE_RUN_FOLDER, 'rootlesskit')}`,
    '--net=slirp4netns',
    `--mtu=${TAP_MTU}`,
    '--slirp4netns-sandbox=auto',
    '--slirp4netns-seccomp=auto',
    '--disable-host-loopback',
    '--port-driver=builtin',
    '--copy-up=/etc',
    '--copy-up=/run',
    '--propagation=rprivate',
    '--pidns',
    '--ipcns',
    '--utsns',
    // Ours are in the files, and in the order that withSubordinateIds means.
    '--subid-source=static',
    'sh',
    '-c',
    INSIDE,
    proxy?.address ?? '',
    proxy === undefined ? '' : String(proxy.port),
    ...dockerd,
  ]
  if (!ownDevices) return asAccount
  const unshare = findTool('unshare', account.name, UNSHARE_PATHS)
  const unshared = ['--mount', '--propagation', 'private', '--', '/bin/sh', '-c', OWN_DEVICES]
  return [unshare, ...unshared, 'sh', String(account.uid), String(account.gid), ...asAccount]
}
