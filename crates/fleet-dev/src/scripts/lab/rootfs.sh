# Builds the tree that all machines of labs share: sh -c ROOTFS name OUT
#
# In:  SUITE, MIRROR (debootstrap's words), PACKAGES and MASKED (blanks between), SIZE_MIB.
# Runs in a mount namespace of its own. All work is done on a file system in memory there: it cannot become larger than
# SIZE_MIB, packages' archives included, it does not wait for this box's disk, and it is gone when this process is.
set -eu
out=$1
work=$out.work

mkdir -p "$work"
mount -t tmpfs -o "size=${SIZE_MIB}m,mode=0755" tmpfs "$work"
root=$work/root
debootstrap --variant=minbase --include="$(echo "$PACKAGES" | tr ' ' ',')" "$SUITE" "$root" "$MIRROR" ||
    { tail -n 20 "$root/debootstrap/debootstrap.log" || :; exit 1; } >&2

# What each machine has of its own is not in the shared tree.
rm -f "$root/etc/hostname" "$root/etc/machine-id" "$root/var/lib/dbus/machine-id" "$root"/etc/ssh/ssh_host_*
rm -rf "$root/var/cache/apt" "$root/var/lib/apt/lists" "$root/var/log/journal"
for unit in $MASKED; do
    ln -sfn /dev/null "$root/etc/systemd/system/$unit"
done
# The journal in memory does not wait for this box's disk; a power loss takes it, as it takes the last lines of any.
mkdir -p "$root/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nRateLimitIntervalSec=0\n' \
    >"$root/etc/systemd/journald.conf.d/fleet-dev.conf"

# An sshd that people may start (`systemctl start ssh`); its key, which is the machine's own, is made then.
mkdir -p "$root/etc/systemd/system/ssh.service.d"
printf '[Service]\nExecStartPre=\nExecStartPre=/usr/bin/ssh-keygen -A\nExecStartPre=/usr/sbin/sshd -t\n' \
    >"$root/etc/systemd/system/ssh.service.d/fleet-dev.conf"
rm -f "$root/etc/systemd/system/multi-user.target.wants/ssh.service" "$root/etc/systemd/system/sshd.service"

# Whoever sees OUT sees all of it.
rm -rf "$out.new"
cp -a "$root" "$out.new"
mv "$out.new" "$out"
