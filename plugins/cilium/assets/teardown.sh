# Takes out of the kernel what only Cilium's agent puts there; what is gone already is no mistake. Interfaces, chains of iptables and
# programs go elsewhere, by their names.
set -u

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
