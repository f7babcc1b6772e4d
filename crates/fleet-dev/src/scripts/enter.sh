#!/bin/sh
# Runs a command inside the machine: sh enter PROGRAM ARG...
# Written by fleet-dev at the boot of the machine; it reads the process id anew each time, since a reboot changes it.
set -eu
folder=@FOLDER@
[ -s "$folder/leader" ] || { echo "machine @NAME@ is off" >&2; exit 125; }
leader=$(cat "$folder/leader")
set -- env -i PATH=@PATH@ LANG=C.UTF-8 TERM="${TERM:-dumb}" HOME="$folder/home" XDG_RUNTIME_DIR=/run/user/@UID@ "$@"
if [ @USERNS@ = no ]; then
    exec nsenter --target "$leader" --mount --uts --cgroup -- "$@"
fi
# The mounts belong to the outer of two user namespaces, the user's own number exists in the inner one.
exec nsenter --target "$(cat "$folder/keeper")" --user --preserve-credentials --mount --uts --cgroup -- \
    nsenter --target "$leader" --user --preserve-credentials -- "$@"
