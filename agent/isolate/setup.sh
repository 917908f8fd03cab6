# Runs as the first process of the new namespaces (`unshare` has made them) and becomes process 1.
#
# Arguments: the command that becomes process 1. Its environment is ours without the ISOLATE_* variables:
#   ISOLATE_SCRATCH    an empty folder; a tmpfs that holds everything written to the new root goes there
#   ISOLATE_DATA       folder that becomes /.data
#   ISOLATE_HOSTNAME
#   ISOLATE_OVERLAYS   mount points below / that get an overlay of their own, one a line
#   ISOLATE_COPIES     files that something was mounted on, one a line
#   ISOLATE_READONLY   paths to be seen unchanged at the same place, one a line
#   ISOLATE_PREPARE    shell text to run in the new root just before the command
# Descriptor 3 takes "pid N", then complaints, then "ready". Descriptor 4 gives "go" when the network is there,
# with the address of its name server if it has one.
set -eu
umask 022
exec 5>&2 2>&3

# /proc is still the launcher's, so this is our number as the launcher sees it.
read -r pid _ </proc/self/stat
echo "pid $pid" >&3
nameserver=
read -r _ nameserver <&4

scratch=$ISOLATE_SCRATCH
root=$scratch/root
layers=0

# overlay_here TARGET: an overlay of the current folder. The relative lowerdir needs no escaping of `:` or `,`.
overlay_here() {
  layers=$((layers + 1))
  upper=$scratch/upper$layers
  mkdir "$upper" "$scratch/work$layers"
  # The merged folder shows the owner and mode of its upper one.
  chown "$(stat -c %u:%g .)" "$upper"
  chmod "$(stat -c %a .)" "$upper"
  mount -t overlay -o "lowerdir=.,upperdir=$upper,workdir=$scratch/work$layers" overlay "$1"
}

# bind_readonly PATH: the path itself, at the same place, even below the fresh /tmp.
bind_readonly() {
  if [ -d "$1" ]; then
    mkdir -p "$root$1"
  else
    mkdir -p "$(dirname "$root$1")"
    [ -e "$root$1" ] || : >"$root$1"
  fi
  mount --bind "$1" "$root$1"
  mount -o remount,bind,ro "$root$1"
}

each_line() {
  printf '%s\n' "$2" | while IFS= read -r line; do
    if [ -n "$line" ]; then "$1" "$line"; fi
  done
}

ip link set lo up
mount -t tmpfs -o mode=0755 tmpfs "$scratch"
mkdir "$root"
cd /
overlay_here "$root"

printf '%s\n' "$ISOLATE_OVERLAYS" >"$scratch/overlays"
while IFS= read -r path; do
  [ -n "$path" ] || continue
  cd "$path"
  # A file system that cannot be a lower layer (some network ones) is shown read-only.
  overlay_here "$root$path" || bind_readonly "$path"
done <"$scratch/overlays"
cd /

copy_file() { cp -p "$1" "$root$1"; }
each_line copy_file "$ISOLATE_COPIES"

mkdir -p "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/run" "$root/.data"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t sysfs -o nosuid,nodev,noexec sysfs "$root/sys"
mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o nosuid,nodev,mode=0755 tmpfs "$root/run"
mkdir -m 1777 "$root/run/lock"

mount -t tmpfs -o nosuid,mode=0755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/net"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs "$root/dev/shm"
# Bound, not made: mknod is refused in many containers, and a device group may not know ours.
for device in null zero full random urandom tty fuse net/tun; do
  [ -c "/dev/$device" ] || continue
  : >"$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/0 "$root/dev/stdin"
ln -s fd/1 "$root/dev/stdout"
ln -s fd/2 "$root/dev/stderr"

cgroup_kind=$(stat -f -c %T /sys/fs/cgroup 2>/dev/null || echo none)
if [ "$cgroup_kind" = cgroup2fs ]; then
  # unshare put us at the top of a cgroup namespace, so a fresh mount shows our own group only.
  mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup"
elif [ -d /sys/fs/cgroup ]; then
  mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
fi

mount --bind "$ISOLATE_DATA" "$root/.data"
each_line bind_readonly "$ISOLATE_READONLY"

# The new root on top of the old one, then the old one away: no folder has to be set aside for it.
cd "$root"
pivot_root . .
umount -l .
cd /

echo "$ISOLATE_HOSTNAME" >/proc/sys/kernel/hostname
echo "$ISOLATE_HOSTNAME" >/etc/hostname
echo "127.0.0.1 $ISOLATE_HOSTNAME" >>/etc/hosts
if [ -n "$nameserver" ]; then
  rm -f /etc/resolv.conf
  echo "nameserver $nameserver" >/etc/resolv.conf
fi

prepare=$ISOLATE_PREPARE
unset ISOLATE_SETUP ISOLATE_SCRATCH ISOLATE_DATA ISOLATE_HOSTNAME ISOLATE_OVERLAYS ISOLATE_COPIES ISOLATE_READONLY \
  ISOLATE_PREPARE OLDPWD PWD
if [ -n "$prepare" ]; then sh -euc "$prepare" 2>&5 3>&- 4<&- 5>&-; fi

echo ready >&3
exec "$@" 2>&5 3>&- 4<&- 5>&-
