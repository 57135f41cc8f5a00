# shellcheck shell=sh
# Makes the root directory that it is given that of a machine, and becomes its process
# 1: for systemd.sh, in namespaces of its own. What the machine has of /proc and /sys
# is the kernel's of the host, so it cannot write there.
set -eu
root=$1
mount --make-rprivate /
mount --bind "$root" "$root"
cd "$root"
mount -t proc -o nosuid,nodev,noexec proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs run
mount -t tmpfs -o mode=755,nosuid tmpfs dev
mkdir dev/pts dev/shm
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
n=0
for name in stdin stdout stderr; do
	ln -s "fd/$n" "dev/$name"
	n=$((n + 1))
done
for device in null:3 zero:5 full:7 random:8 urandom:9; do
	mknod -m 666 "dev/${device%:*}" c 1 "${device#*:}"
done
mknod -m 666 dev/tty c 5 0
ip link set lo up
pivot_root . .
umount -l .
cd /
mount --make-rshared / # systemd relies on it, for credentials
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=zmailer-test setpriv \
	--inh-caps=-all --bounding-set=-sys_module,-sys_time,-sys_rawio,-syslog,-wake_alarm,-mac_admin \
	/lib/systemd/systemd --log-target=journal
