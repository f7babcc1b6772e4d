# Joins cgroups, then becomes the given program: sh -c JOIN name N PROCS_FILE... PROGRAM ARG...
#
# A program that a machine is made of must be in the machine's cgroup before it can fork, or a child of it could
# escape the warden. The standard library cannot run code of ours between fork and exec without `unsafe`; this can.
set -eu
n=$1
shift
while [ "$n" -gt 0 ]; do
    echo $$ >"$1"
    shift
    n=$((n - 1))
done
exec "$@"
