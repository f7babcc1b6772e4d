# Cleans up after one cell: WARDEN=this sh -c 'eval "$WARDEN"' name CGROUP... -- LOCK FOLDER...
#
# Standard input is a pipe that only the owner of the cell holds open. When it ends, whether the owner asked for that
# or was killed with -9, every process in the cgroups is killed and the cgroups and folders are removed. It is the one
# way in which cells end, so that the way after a crash is walked at each orderly stop, too.
# The line `keep` before the end spares the folders and the lock file (LOCK may be empty: there is none).
# Exit status 0: nothing is left; 1: standard output says what is.
set -u
# Ctrl-C and a closing terminal reach the whole session, and this process must outlive all others.
trap '' HUP INT TERM PIPE

# Rounds of looking, 10 ms apart: 10 seconds. The shell has no poll(2), so it cannot wait for `cgroup.events`.
ROUNDS=1000

cgroups=
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    cgroups="$cgroups $1" # Names are ours and have no blanks; the mount points of cgroup file systems neither.
    shift
done
lock=$2
shift 2

keep=no
while read -r word; do
    [ "$word" = keep ] && keep=yes
done

pids() {
    for cgroup in $cgroups; do
        [ -d "$cgroup" ] && find "$cgroup" -name cgroup.procs -exec cat {} + 2>/dev/null
    done
}

kill_once() {
    for cgroup in $cgroups; do
        # All at once and without a race against fork, where the kernel can (cgroup v2, Linux 5.14).
        [ -e "$cgroup/cgroup.kill" ] && echo 1 2>/dev/null >"$cgroup/cgroup.kill"
    done
    for pid in $(pids); do
        # 0 is a process of another PID namespace; for kill it would mean our own process group.
        [ "$pid" != 0 ] && kill -9 "$pid" 2>/dev/null
    done
}

remove_once() {
    for cgroup in $cgroups; do
        [ -d "$cgroup" ] && find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null
    done
    [ "$keep" = yes ] || rm -rf --one-file-system -- "$@" 2>/dev/null
}

left() {
    for cgroup in $cgroups; do
        [ -d "$cgroup" ] && echo "$cgroup"
    done
    [ "$keep" = yes ] && return
    for folder; do
        [ -e "$folder" ] && echo "$folder"
    done
}

round=0
while :; do
    kill_once
    remove_once "$@"
    left=$(left "$@")
    if [ -z "$left" ]; then
        # As the very last thing: whoever makes the file anew may use the folders at once.
        [ "$keep" = yes ] || [ -z "$lock" ] || rm -f -- "$lock"
        exit 0
    fi
    round=$((round + 1))
    if [ "$round" -ge "$ROUNDS" ]; then
        echo "$left" "(processes:" $(pids)")"
        exit 1
    fi
    sleep 0.01
done
