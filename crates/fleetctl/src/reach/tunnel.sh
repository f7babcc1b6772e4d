# Holds a tunnel: sh -c 'this' name FOLDER SSH ARGUMENT...
#
# Standard input is a pipe that only fleetctl holds open. When it ends, because fleetctl has or was killed, ssh is ended too. The
# folder with its sockets is taken away in any case. Ends with the exit code of ssh.
folder=$1
shift
# Ctrl-C reaches the whole terminal. fleetctl says what comes of it, and may still need the tunnel for that.
trap '' HUP INT QUIT
exec 3<&0
"$@" 3<&- </dev/null &
ssh=$!
{
    while read -r _; do :; done <&3
    # Up to OpenSSH 9.2 at least, a signal that comes just before ssh begins to wait for news is noticed with the next news only.
    while kill "$ssh"; do sleep 0.1; done
} >/dev/null 2>&1 &
watch=$!
wait "$ssh"
code=$?
kill "$watch" 2>/dev/null
rm -rf -- "$folder"
exit "$code"
