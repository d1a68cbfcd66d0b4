# Gives static pods new manifests, one after another, and waits until each runs with its own and is healthy. Whatever ends it, it can
# be run again: a manifest that is in place already is left alone, and health is asked for in any case.
#
# Arguments: words for `kubeadm init phase`; its configuration; the components that the phase makes, in order; this node's name;
# "address:port" of its API server; `restart` to restart also what keeps its manifest.
set -u
phase=$1 config=$2 components=$3 node=$4 server=$5 force=${6-}
new=/etc/kubernetes/tmp/ksp-roll
manifests=/etc/kubernetes/manifests
admin=/etc/kubernetes/admin.conf
pki=/etc/kubernetes/pki/etcd

say() { echo "$*" >&2; }
etcd() {
  /usr/local/bin/etcdctl --endpoints=https://127.0.0.1:2379 --cacert=$pki/ca.crt --cert=$pki/healthcheck-client.crt \
    --key=$pki/healthcheck-client.key --command-timeout=5s "$@"
}
ask() { kubectl --kubeconfig=$admin --request-timeout=5s "$@"; }
# The one pod of a component that the kubelet keeps.
pod() { crictl pods --name "^$1-$node\$" --state ready -q | head -n 1; }

healthy() {
  case $1 in
  etcd) etcd endpoint health ;;
  kube-apiserver) ask --server="https://$server" get --raw=/readyz ;;
  kube-controller-manager) ask --server=https://127.0.0.1:10257 --insecure-skip-tls-verify get --raw=/healthz ;;
  kube-scheduler) ask --server=https://127.0.0.1:10259 --insecure-skip-tls-verify get --raw=/livez ;;
  esac
}

# Waits until $1 holds, at most $2 seconds; then says what it was and shows the component's log.
until_true() {
  left=$2
  while :; do
    last=$($1 "$component" 2>&1) && return 0
    left=$((left - 1))
    [ "$left" -gt 0 ] || break
    sleep 1
  done
  say "$component: $3 (waited $2 s)"
  [ -z "$last" ] || say "$last"
  container=$(crictl ps -a --name "^$component\$" -q | head -n 1)
  [ -z "$container" ] || crictl logs --tail 8 "$container" 2>&1 | cut -c1-400 >&2
  exit 1
}

replaced() {
  now=$(pod "$1")
  [ -n "$now" ] && [ "$now" != "$before" ] && [ -n "$(crictl ps --pod "$now" --state running -q)" ]
}

# A member may be stopped when those that answer without it are a majority; one or two members can spare nobody.
spare() {
  list=$(etcd member list -w json) || { say "etcd: this member does not answer"; exit 1; }
  all=$(printf %s "$list" | grep -o '"peerURLs"' | wc -l)
  learners=$(printf %s "$list" | grep -o '"isLearner":true' | wc -l)
  voters=$((all - learners))
  alive=$(etcd endpoint health --cluster -w json 2>/dev/null | grep -o '"health":true' | wc -l)
  if [ "$voters" -gt 2 ] && [ $((alive - 1)) -lt $((voters / 2 + 1)) ]; then
    say "etcd: $alive of $voters members answer; without this one fewer than the needed $((voters / 2 + 1)) would"
    exit 1
  fi
}

rm -rf "$new"
mkdir -p -m 700 "$new" || exit 1
trap 'rm -rf "$new"' EXIT
# A dry run writes the manifests elsewhere; kubeadm would write into the folder that the kubelet watches.
if ! KUBEADM_INIT_DRYRUN_DIR=$new kubeadm init phase $phase --config="$config" --dry-run >"$new/log" 2>&1; then
  tail -n 5 "$new/log" >&2
  exit 1
fi
for component in $components; do
  fresh=$new/$component.yaml
  [ -s "$fresh" ] || { say "kubeadm made no manifest for $component"; exit 1; }
  if ! cmp -s "$fresh" "$manifests/$component.yaml"; then
    [ "$component" != etcd ] || spare
    before=$(pod "$component")
    chmod 600 "$fresh" && sync "$fresh" && mv -f "$fresh" "$manifests/$component.yaml" || exit 1
    until_true replaced 120 "the kubelet does not run the new manifest"
  elif [ -n "$force" ]; then
    before=
    container=$(crictl ps --name "^$component\$" --state running -q | head -n 1)
    [ -z "$container" ] || crictl stop --timeout 30 "$container" >/dev/null || exit 1
    until_true replaced 120 "it does not run again"
  fi
  until_true healthy 180 "it is not healthy"
done
