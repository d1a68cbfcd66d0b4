#!/bin/sh
# One backup of the etcd member on this node: a snapshot, checked, in an archive that `ksp etcd restore` reads. Leaves a note of how
# it went in last.json, for `ksp status`. What it needs comes from /etc/ksp/etcd-backup.env.
set -u
umask 077
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
export PATH LC_ALL

node=$(sed -n 's/.*"node":"\([^"]*\)".*/\1/p' /var/lib/ksp/node.json)
cluster_id=$(sed -n 's/.*"cluster-id":"\([^"]*\)".*/\1/p' /var/lib/ksp/node.json)
now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
work=$FOLDER/.work

ctl() { etcdctl --endpoints="$ENDPOINT" --cacert="$CA" --cert="$CERTIFICATE" --key="$KEY" --dial-timeout=5s "$@"; }

# number NAME: a number from the JSON on standard input.
number() { sed -n 's/.*"'"$1"'":\([0-9]*\).*/\1/p'; }

# note RESULT REVISION SIZE HASH ERROR: whole or not at all.
note() {
  printf '{"time":"%s","node":"%s","result":"%s","revision":%s,"size":%s,"hash":%s,"error":"%s"}\n' \
    "$now" "$node" "$1" "$2" "$3" "$4" "$5" >"$FOLDER/.last" && mv -f "$FOLDER/.last" "$FOLDER/last.json"
}

fail() {
  # In one line, without what JSON would have to escape.
  why=$(printf '%s' "$*" | tr '\n\t' '  ' | tr -d '"\\\000-\037' | cut -c 1-300)
  rm -rf "$work"
  note failed 0 0 0 "$why"
  echo "$why" >&2
  exit 1
}

rm -rf "$work"
mkdir -p "$work" || { echo "cannot make $work" >&2; exit 1; }

# Never from a member that others do not agree with, or that does not vote yet.
status=$(ctl --command-timeout=10s endpoint status -w json 2>&1) || fail "the member does not answer: $(echo "$status" | tail -n 1)"
leader=$(echo "$status" | number leader)
[ "${leader:-0}" != 0 ] || fail "the member knows no leader"
case $status in *'"isLearner":true'*) fail "the member does not vote yet" ;; esac
case $status in *CORRUPT*) fail "the member says that its data is corrupt" ;; esac
version=$(echo "$status" | sed -n 's/.*"version":"\([^"]*\)".*/\1/p')

# Twice the database, and room for etcd itself, which often shares the disk.
need=$(($(echo "$status" | number dbSize) / 512 + 262144))
set -- $(df -Pk "$FOLDER" | tail -n 1)
[ "$4" -ge "$need" ] || fail "$FOLDER has $4 KiB free, and $need KiB are needed"

said=$(ctl --command-timeout=20m snapshot save "$work/snapshot.db" 2>&1) || fail "$(echo "$said" | tail -n 1)"
checked=$(etcdutl snapshot status "$work/snapshot.db" -w json 2>/dev/null) || fail "the snapshot cannot be read back"
revision=$(echo "$checked" | number revision)
hash=$(echo "$checked" | number hash)
keys=$(echo "$checked" | number totalKey)
size=$(stat -c %s "$work/snapshot.db")
sum=$(sha256sum <"$work/snapshot.db") || fail "the snapshot cannot be read"
members=$(printf '"%s",' $MEMBERS)

printf '{"format":1,"cluster":"%s","cluster-id":"%s","time":"%s","node":"%s","members":[%s],"topology":"%s","etcd":"%s","kubernetes":"%s","revision":%s,"hash":%s,"keys":%s,"size":%s,"sha256":"%s"}\n' \
  "$CLUSTER" "$cluster_id" "$now" "$node" "${members%,}" "$TOPOLOGY" "$version" "$KUBERNETES" \
  "$revision" "$hash" "${keys:-0}" "$size" "${sum%% *}" >"$work/backup.json" || fail "cannot write $work/backup.json"
name=$CLUSTER-$(echo "$now" | tr -d ':-').etcd-backup.tar
tar -cf "$work/$name" -C "$work" backup.json snapshot.db || fail "the archive cannot be written"
sync "$work/$name" 2>/dev/null || sync
mv -f "$work/$name" "$FOLDER/$name" || fail "cannot write $FOLDER/$name"
rm -rf "$work"

# The newest comes first: it stays whatever its age. Names of archives hold no spaces.
count=0
for old in $(ls -1r "$FOLDER" | grep '\.etcd-backup\.tar$'); do
  count=$((count + 1))
  [ "$count" -gt 1 ] || continue
  if [ "$count" -gt "$KEEP" ] || [ -n "$(find "$FOLDER/$old" -mtime +"$((KEEP_DAYS - 1))")" ]; then
    rm -f "$FOLDER/$old"
  fi
done
note 'done' "$revision" "$size" "$hash" ''
echo "wrote $FOLDER/$name: revision $revision, $size bytes"
