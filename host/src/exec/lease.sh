set -u; umask 077
[ -d "$base" ] || mkdir -p -m 700 "$base" || exit 1
# One script at a time. It is held for milliseconds: whoever finds it for five seconds found one that a dead script left.
i=0; until mkdir "$base/.lease.lock" 2>/dev/null; do i=$((i+1)); [ "$i" -lt 50 ] || break; sleep 0.1; done
leave() { rmdir "$base/.lease.lock" 2>/dev/null; exit "$1"; }
up=0; read -r up _ <"$proc/uptime"; up=${up%%.*}
boot=; read -r boot <"$proc/sys/kernel/random/boot_id"
fence=0; { read -r fence <"$base/fence"; } 2>/dev/null; case $fence in ''|*[!0-9]*) fence=0;; esac
line=; { IFS= read -r line <"$base/lease.json"; } 2>/dev/null
held_token=0; held_until=0; held_boot=; held_run=
case $line in
'{"token":'*)
  held_token=${line#'{"token":'}; held_token=${held_token%%,*}
  held_until=${line#*'"expires":'}; held_until=${held_until%%,*}
  held_boot=${line#*'"boot":"'}; held_boot=${held_boot%%\"*}
  held_run=${line#*'"run":"'}; held_run=${held_run%%\"*};;
esac
case $held_token$held_until in ''|*[!0-9]*) held_token=0; held_until=0; held_run=;; esac
# Seconds that the lease still has. After a reboot the old clock says nothing: a holder that lives has renewed it within a term.
if [ "$held_boot" = "$boot" ]; then left=$((held_until-up)); else left=$((term-up)); fi
write_lease() {
  printf '{"token":%s,"expires":%s,"boot":"%s","run":"%s",%s}\n' "$token" "$((up+term))" "$boot" "$run" "$rest" >"$base/.lease.tmp" &&
    mv -f "$base/.lease.tmp" "$base/lease.json"
}
write_fence() { echo "$1" >"$base/.fence.lease" && mv -f "$base/.fence.lease" "$base/fence"; }
case $verb in
acquire)
  if [ -n "$held_run" ] && [ "$held_run" != "$run" ] && [ "$left" -gt 0 ]; then
    printf 'held %s %s\n' "$left" "$line"; leave 75
  fi
  seen=$fence; [ "$held_token" -le "$seen" ] || seen=$held_token
  if [ "$seen" -ge "$token" ] && [ "$held_run" != "$run" ]; then echo "behind $seen"; leave 76; fi
  # The fence is raised when a majority agreed, by the scripts that follow: a run that gets nowhere must shut nobody out.
  write_lease || leave 1;;
renew)
  if [ "$held_run" != "$run" ] || [ "$fence" -gt "$token" ]; then printf 'lost %s\n' "$line"; leave 78; fi
  write_lease || leave 1;;
release)
  [ "$held_run" != "$run" ] || rm -f "$base/lease.json";;
unlock)
  [ "$held_run" = "$run" ] || { printf 'other %s\n' "$line"; leave 77; }
  # The run that is shut out may still live: its scripts must be refused from now on.
  [ "$fence" -ge "$held_token" ] || fence=$held_token
  write_fence "$((fence+1))" && rm -f "$base/lease.json" || leave 1;;
esac
leave 0
