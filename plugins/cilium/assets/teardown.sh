# Takes out of the kernel what Cilium's agent put there. Only what is Cilium's, by its names; what is gone already is no mistake.
# Interfaces and chains of iptables go elsewhere.
set -u

# Programs are held by their pins.
rm -rf /sys/fs/bpf/cilium /sys/fs/bpf/tc/globals/cilium_*
rmdir /sys/fs/bpf/tc/globals /sys/fs/bpf/tc 2>/dev/null

# On kernels before 6.6 they are filters of an interface instead.
if command -v tc >/dev/null; then
  for path in /sys/class/net/*; do
    interface=${path##*/}
    for side in ingress egress; do
      tc filter show dev "$interface" "$side" 2>/dev/null | grep -q ' cil_' || continue
      tc filter show dev "$interface" "$side" | sed -n 's/.*pref \([0-9]*\) bpf .* cil_.*/\1/p' | sort -u |
        while read -r preference; do tc filter del dev "$interface" "$side" pref "$preference"; done
    done
  done
fi

# Rules and routes of the ways that Cilium marks.
for family in -4 -6; do
  for table in 2004 2005; do
    while ip $family rule show | grep -q "lookup $table\$"; do ip $family rule del lookup $table || break; done
    ip $family route flush table $table 2>/dev/null
  done
done

# Control groups for its programs, and namespaces of its own.
sed -n 's#^[^ ]* \(/run/cilium[^ ]*\) .*#\1#p' /proc/mounts | sort -r | while read -r mount; do umount "$mount"; done
rm -rf --one-file-system /run/cilium
