# Boots one machine of a lab: gives it a network namespace with a cable to a bridge, then becomes its systemd-nspawn.
#
# In:  NAME, ADDRESS (with prefix length), HUB (address), PORT, MAC, BRIDGE; the arguments are systemd-nspawn's.
# Runs in the hub's namespaces and in the machine's own cgroup.
set -eu
# What is left of one that was switched off, or ended by itself.
ip link delete "$PORT" 2>/dev/null || :
ip netns delete "$NAME" 2>/dev/null || :

ip netns add "$NAME"
ip link add "$PORT" type veth peer name host0 address "$MAC" netns "$NAME"
ip -netns "$NAME" link set lo up
ip -netns "$NAME" link set host0 up
ip -netns "$NAME" address add "$ADDRESS" dev host0
ip -netns "$NAME" route add default via "$HUB"
ip link set "$PORT" master "$BRIDGE" up

exec systemd-nspawn "$@"
