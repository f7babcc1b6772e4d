# Makes a lab's network and keeps it: runs as the first process in a mount and a network namespace of its own.
#
# In:  HUB_ADDRESS (with prefix length), DISKS (an empty folder), DISKS_MIB, NOTIFY_SOCKET.
# All that the lab mounts, and its network, exist in these two namespaces only and end with their last process.
set -eu
# ip(8) and systemd-nspawn keep their notes in /run: here a lab's own, which nobody else sees and nobody must clean.
mount -t tmpfs -o mode=0755 tmpfs /run
# The machines' disks are in memory: they do not wait for this box's disk, and as the upper part of an overlay they work
# where this box's own root is an overlay, as in containers.
mount -t tmpfs -o "size=${DISKS_MIB}m,mode=0755" tmpfs "$DISKS"

ip link set lo up
ip link add br0 type bridge
ip address add "$HUB_ADDRESS" dev br0
ip link set br0 up

# Its barrier would fail when who waits for us hears the word and closes its ear at once.
systemd-notify --no-block --ready
unset NOTIFY_SOCKET
exec sleep infinity
