# Removes interfaces, chains of iptables, tables of nftables, IP sets and eBPF programs by their names, and nothing else. Safe to repeat.
#
# Arguments: `interface=<glob>`, `comment=<prefix>`, `chain=<prefix>`, `table=<family name>`, `set=<prefix>`, `pin=<glob>`,
# `program=<prefix>`.
set -u
status=0
failed() { echo "$*" >&2; status=1; }

# Rules that lead to our chains, then the chains: one transaction a table, so that no packet sees half of it.
remove_chains() {
  for command in iptables ip6tables iptables-legacy ip6tables-legacy; do
    command -v "$command-save" >/dev/null 2>&1 || continue
    for table in filter nat mangle raw; do
      # A table that the kernel does not have is none of ours.
      rules=$("$command-save" -t "$table" 2>/dev/null) || continue
      chains=$(printf '%s\n' "$rules" | sed -n 's/^:\([^ ]*\) .*/\1/p' | grep "^$1")
      [ -n "$chains" ] || continue
      {
        echo "*$table"
        printf '%s\n' "$rules" | grep -- "^-A .* -[jg] $1" | grep -v -- "^-A $1" | sed 's/^-A /-D /'
        printf '%s\n' "$chains" | sed 's/^/-F /'
        printf '%s\n' "$chains" | sed 's/^/-X /'
        echo COMMIT
      } | "$command-restore" --wait 10 --noflush || failed "$command: chains $1* of table $table stay"
    done
  done
}

# Rules that say by their comment whose they are.
remove_comments() {
  for command in iptables ip6tables iptables-legacy ip6tables-legacy; do
    command -v "$command-save" >/dev/null 2>&1 || continue
    for table in filter nat mangle raw; do
      rules=$("$command-save" -t "$table" 2>/dev/null | grep -- "^-A .* --comment \"\{0,1\}$1") || continue
      {
        echo "*$table"
        printf '%s\n' "$rules" | sed 's/^-A /-D /'
        echo COMMIT
      } | "$command-restore" --wait 10 --noflush || failed "$command: rules $1* of table $table stay"
    done
  done
}

remove_interfaces() {
  for path in /sys/class/net/$1; do
    [ -e "$path" ] || continue
    # The other end of a pair goes with the first.
    ip link delete "${path##*/}" || [ ! -e "$path" ] || failed "interface ${path##*/} stays"
  done
}

remove_table() {
  command -v nft >/dev/null 2>&1 || return 0
  nft list table $1 >/dev/null 2>&1 || return 0
  nft delete table $1 || failed "nftables: table $1 stays"
}

remove_sets() {
  command -v ipset >/dev/null 2>&1 || return 0
  for name in $(ipset list -name 2>/dev/null | grep "^$1"); do
    ipset destroy "$name" || failed "IP set $name stays"
  done
}

# What is pinned below /sys/fs/bpf: maps, and programs that are held by their pins.
remove_pins() {
  rm -rf --one-file-system -- $1 || failed "$1 stays"
  rmdir /sys/fs/bpf/tc/globals /sys/fs/bpf/tc 2>/dev/null
}

# Programs that are filters of an interface.
remove_programs() {
  command -v tc >/dev/null 2>&1 || return 0
  for path in /sys/class/net/*; do
    interface=${path##*/}
    for side in ingress egress; do
      tc filter show dev "$interface" "$side" 2>/dev/null | sed -n "s/.*pref \([0-9]*\) bpf .* $1.*/\1/p" | sort -u |
        while read -r preference; do tc filter del dev "$interface" "$side" pref "$preference"; done
      tc filter show dev "$interface" "$side" 2>/dev/null | grep -q " bpf .* $1" || continue
      failed "programs $1* of interface $interface stay"
    done
  done
}

for argument in "$@"; do
  name=${argument#*=}
  case $argument in
  interface=*) remove_interfaces "$name" ;;
  comment=*) remove_comments "$name" ;;
  chain=*) remove_chains "$name" ;;
  table=*) remove_table "$name" ;;
  set=*) remove_sets "$name" ;;
  pin=*) remove_pins "$name" ;;
  program=*) remove_programs "$name" ;;
  *) failed "unknown argument $argument" ;;
  esac
done
# Where CNI plugins keep what they know of pods: others may use it, too.
rmdir /var/lib/cni/networks /var/lib/cni/results /var/lib/cni/cache /var/lib/cni 2>/dev/null
exit $status
