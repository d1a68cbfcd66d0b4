# Gives static pods new manifests, one after another, and waits until each runs with its own and is healthy. Whatever ends it, it can
# be run again: a manifest that is in place already is left alone, and health is asked for in any case.
#
# Arguments: words for `kubeadm init phase`; its configuration; the components that the phase makes, in order; this node's name;
# "address:port" of its API server; kubeadm's configuration of the API server; `restart` to restart also what keeps its manifest.
set -u
phase=$1 config=$2 components=$3 node=$4 server=$5 api_config=$6 force=${7-}
new=/etc/kubernetes/tmp/ksp-roll
# Where the API server's manifest is while its member of etcd is restarted.
aside=/etc/kubernetes/kubeadm/kube-apiserver.aside
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

gone() { [ -z "$(pod "$1")" ]; }

# Writes new manifests below $new. A dry run puts them there; kubeadm would write into the folder that the kubelet watches.
generate() {
  KUBEADM_INIT_DRYRUN_DIR=$new kubeadm init phase $1 --config="$2" --dry-run >"$new/log" 2>&1 && return 0
  tail -n 5 "$new/log" >&2
  exit 1
}

put() { chmod 600 "$new/$1.yaml" && sync "$new/$1.yaml" && mv -f "$new/$1.yaml" "$manifests/$1.yaml" || exit 1; }

# An API server whose member of etcd is away lets its clients wait. It goes first, in order, and they use the others.
without_api_server() {
  [ ! -e $manifests/kube-apiserver.yaml ] || mv -f $manifests/kube-apiserver.yaml $aside || exit 1
  component=kube-apiserver
  until_true gone 90 "it does not end"
  component=etcd
}

with_api_server() {
  component=kube-apiserver
  generate 'control-plane apiserver' "$api_config"
  put kube-apiserver
  rm -f $aside
  until_true healthy 180 "it is not healthy"
  component=etcd
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

# Whatever happens, there is a manifest for the API server.
leave() {
  if [ -e $aside ]; then
    [ -e $manifests/kube-apiserver.yaml ] || mv -f $aside $manifests/kube-apiserver.yaml
    rm -f $aside
  fi
  rm -rf "$new"
}

rm -rf "$new"
mkdir -p -m 700 "$new" || exit 1
trap leave EXIT
generate "$phase" "$config"
for component in $components; do
  [ -s "$new/$component.yaml" ] || { say "kubeadm made no manifest for $component"; exit 1; }
  if ! cmp -s "$new/$component.yaml" "$manifests/$component.yaml"; then
    if [ "$component" = etcd ]; then
      spare
      without_api_server
    fi
    before=$(pod "$component")
    put "$component"
    until_true replaced 120 "the kubelet does not run the new manifest"
  elif [ -n "$force" ]; then
    before=
    container=$(crictl ps --name "^$component\$" --state running -q | head -n 1)
    [ -z "$container" ] || crictl stop --timeout 30 "$container" >/dev/null || exit 1
    until_true replaced 120 "it does not run again"
  fi
  until_true healthy 180 "it is not healthy"
  [ ! -e $aside ] || with_api_server
done
