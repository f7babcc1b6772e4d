# Boots a machine; runs as the first process in its namespaces and becomes its systemd.
#
# In:  MACHINE_NAME, MACHINE_FOLDER (run, etc, home, empty lie there), MACHINE_UID, MACHINE_GID, SYSTEMD, JOURNALD,
#      CGROUP_UNIFIED and CGROUP_NAMED (mount points; empty: this box has none), MACHINE_USERNS (yes: as an ordinary user).
#      Standard input gives one line when the journal is up.
set -eu
folder=$MACHINE_FOLDER
runtime=/run/user/$MACHINE_UID

hostname "$MACHINE_NAME"

# The cgroup namespace begins at the machine's own cgroup. File systems mounted now show just that part, as the root:
# the machine sees no other, and journald finds unit names in the paths whatever cgroup this box has put us in.
# The kernel refuses a file system right on top of itself, and in a user namespace to unmount the box's: hence the
# empty folder in between.
for hierarchy in $CGROUP_UNIFIED $CGROUP_NAMED; do
    mount --bind "$folder/empty" "$hierarchy"
done
[ -z "$CGROUP_UNIFIED" ] || mount -t cgroup2 cgroup2 "$CGROUP_UNIFIED"
[ -z "$CGROUP_NAMED" ] || mount -t cgroup -o none,name=systemd cgroup "$CGROUP_NAMED"

mount --bind "$folder/etc/machine-id" /etc/machine-id
mount --bind "$folder/etc/environment" /etc/environment
# User units that this box has enabled for people (agents for keys, sound) have no business on a machine.
[ ! -d /etc/systemd/user ] || mount --bind "$folder/empty" /etc/systemd/user
# Where the name servers are said to be in a file below /run, it would be gone with the box's /run.
resolv=$(readlink -f /etc/resolv.conf || :)
case $resolv in
/run/*)
    mkdir -p "$folder$(dirname "$resolv")"
    cp "$resolv" "$folder$resolv"
    ;;
esac
mount --bind "$folder/run" /run
# The journal is in memory, as on a real machine, and does not wait for this box's disk.
mkdir /run/log
mount -t tmpfs -o mode=0755 tmpfs /run/log

# Moves this process; what it starts from now on is there, too. $1: cgroup below the machine's own.
enter_cgroup() {
    for hierarchy in $CGROUP_UNIFIED $CGROUP_NAMED; do
        mkdir -p "$hierarchy/$1"
        echo $$ >"$hierarchy/$1/cgroup.procs"
    done
}
# Hands the controllers down, so that MemoryMax= and the like work where the box has them in cgroup v2. $1: cgroup
delegate() {
    [ -n "$CGROUP_UNIFIED" ] || return 0
    for controller in $(cat "$CGROUP_UNIFIED/$1/cgroup.controllers"); do
        echo "+$controller" 2>/dev/null >"$CGROUP_UNIFIED/$1/cgroup.subtree_control" || :
    done
}

slice=fleet-$MACHINE_NAME.slice
enter_cgroup "$slice/systemd-journald.service"
delegate .
delegate "$slice"
# journald learns from /proc which unit a line of a user manager's unit belongs to, and a process that prints and fails
# at once may be gone by then: seen on 4 of 100 such units, whose last words --user-unit did not find. Scheduled before
# the process that printed, journald is nearly always in time: seen on none of 100 idle, on 1 of 600 under heavy load.
# Where that is not allowed it does without.
urgent='chrt --rr 1'
$urgent true 2>/dev/null || urgent=
# To mount things we had to be root in a user namespace. Systemd and the journal must have the user's own number again:
# clients outside say it when they connect, and journalctl looks for it in the lines.
as_user=
[ "$MACHINE_USERNS" = no ] || as_user="unshare --user --map-user=$MACHINE_UID --map-group=$MACHINE_GID --"
NOTIFY_SOCKET=/run/fleet-dev/journal $as_user $urgent "$JOURNALD" </dev/null &
# Whoever enters needs a process in the namespaces that own the mounts; one in a user namespace below is not enough.
if [ "$MACHINE_USERNS" = yes ]; then
    sleep infinity </dev/null &
fi
echo $! >"$folder/keeper"

# The manager opens its log once, at its start: the journal must be there before.
read -r go
[ "$go" = go ]

enter_cgroup "$slice/user@$MACHINE_UID.service"
echo $$ >"$folder/leader"
exec $as_user env -i \
    PATH="$PATH" LANG=C.UTF-8 HOME="$folder/home" SHELL=/bin/sh XDG_RUNTIME_DIR="$runtime" \
    NOTIFY_SOCKET=/run/fleet-dev/systemd \
    "$SYSTEMD" --user --unit=basic.target </dev/null
