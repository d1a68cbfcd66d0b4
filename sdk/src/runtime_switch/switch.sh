# Gives the kubelet of this node another container runtime. Whatever ends it, it can be run again.
#
# Arguments: what to do (`begin`, `pull`, `switch`, `end`); this node's name; "address:port" of its API server, or `-`; what the kubelet
# reports of the new runtime; its socket and unit; then, for each runtime that the node had, socket and unit.
set -u
verb=$1 node=$2 server=$3 reports=$4 new=$5 unit=$6
shift 6
# How far it has come, and the sockets that it is about. Reset takes it along with the kubelet's folder.
note=/var/lib/kubelet/ksp-runtime-switch
kubelet=/var/lib/kubelet
# While there is this, the new runtime does not see the pod network.
hidden=/etc/systemd/system/$unit.d/ksp-runtime-switch.conf
manifests=/etc/kubernetes/manifests
pki=/etc/kubernetes/pki/etcd

say() { echo "$*" >&2; }
cri() {
  socket=$1
  shift
  crictl --runtime-endpoint "$socket" --image-endpoint "$socket" --timeout 60s "$@"
}
answers() { cri "$1" version >/dev/null 2>&1; }
# Sandboxes that are there, and ids of what runs in one.
pods() { cri "$1" pods -q 2>/dev/null; }
etcd() {
  /usr/local/bin/etcdctl --endpoints=https://127.0.0.1:2379 --cacert=$pki/ca.crt --cert=$pki/healthcheck-client.crt \
    --key=$pki/healthcheck-client.key --command-timeout=5s "$@"
}
as_kubelet() { kubectl --kubeconfig=/etc/kubernetes/kubelet.conf --request-timeout=5s "$@"; }
as_admin() { kubectl --kubeconfig=/etc/kubernetes/admin.conf --request-timeout=5s "$@"; }

# The note is whole or as it was.
write_note() {
  printf '%s\n' "$1" "$new" "$sockets" >$note.new && sync $note.new && mv -f $note.new $note || exit 1
}

# Waits until "$2 …" holds, at most $1 seconds; then says what it was.
until_true() {
  left=$1
  shift
  while :; do
    last=$("$@" 2>&1) && return 0
    left=$((left - 1))
    [ "$left" -gt 0 ] || break
    sleep 1
  done
  [ -z "$last" ] || say "$last"
  return 1
}

static_images() {
  cat $manifests/*.yaml 2>/dev/null | sed -n 's/^[[:space:]-]*image:[[:space:]]*//p' | tr -d "\"'" | sort -u
}

# What DaemonSets run here. Without an API they are pulled later, by the kubelet.
daemon_images() {
  as_kubelet get pods --all-namespaces --field-selector "spec.nodeName=$node" -o jsonpath='{range .items[?(@.metadata.ownerReferences[0].kind=="DaemonSet")]}{range .spec.initContainers[*]}{.image}{"\n"}{end}{range .spec.containers[*]}{.image}{"\n"}{end}{end}' 2>/dev/null | sort -u
}

fetch() {
  tries=3
  while ! cri "$new" inspecti -q "$1" >/dev/null 2>&1; do
    [ "$tries" -gt 0 ] || return 1
    tries=$((tries - 1))
    cri "$new" pull "$1" >/dev/null || sleep 3
  done
}

# A runtime that starts takes away the network of all pods that it does not know (CNI's garbage collection): those of the one beside it.
begin() {
  [ -e $note ] || write_note draining
  [ ! -e "$hidden" ] || return 0
  mkdir -p "${hidden%/*}" /etc/cni/net.d /var/lib/cni || exit 1
  printf '%s\n' '[Service]' 'TemporaryFileSystem=/etc/cni/net.d /var/lib/cni' >"$hidden.new" && sync "$hidden.new" &&
    mv -f "$hidden.new" "$hidden" && systemctl daemon-reload || exit 1
  if systemctl is-active -q "$unit"; then systemctl restart "$unit" || exit 1; fi
}

runs_without_network() {
  grep -qs ' /etc/cni/net.d ' "/proc/$(systemctl show -p MainPID --value "$unit")/mountinfo"
}

# Once there are no other pods on the node.
show_network() {
  if [ -e "$hidden" ]; then
    rm -f "$hidden" && systemctl daemon-reload || exit 1
    rmdir "${hidden%/*}" 2>/dev/null
  fi
  runs_without_network || return 0
  systemctl restart "$unit" || { say "$unit does not start"; exit 1; }
  until_true 60 answers "$new" || { say "$new does not answer"; exit 1; }
}

# Before anything stops: what makes the outage long is pulling.
pull() {
  until_true 60 answers "$new" || { say "$new does not answer"; exit 1; }
  for image in $(static_images); do
    fetch "$image" || { say "$image cannot be pulled: nothing is stopped"; exit 1; }
  done
  for image in $(daemon_images); do
    fetch "$image" || say "$image is left for the kubelet to pull"
  done
}

# A member of etcd may be stopped when those that answer without it are a majority; one or two members can spare nobody.
spare() {
  [ -e $manifests/etcd.yaml ] || return 0
  # One that is down already is not missed more.
  list=$(etcd member list -w json 2>/dev/null) || return 0
  all=$(printf %s "$list" | grep -o '"peerURLs"' | wc -l)
  learners=$(printf %s "$list" | grep -o '"isLearner":true' | wc -l)
  voters=$((all - learners))
  alive=$(etcd endpoint health --cluster -w json 2>/dev/null | grep -o '"health":true' | wc -l)
  if [ "$voters" -gt 2 ] && [ $((alive - 1)) -lt $((voters / 2 + 1)) ]; then
    say "etcd: $alive of $voters members answer; without this one fewer than the needed $((voters / 2 + 1)) would"
    exit 1
  fi
}

is_static() {
  source=$(cri "$1" inspectp -o go-template --template '{{index .status.annotations "kubernetes.io/config.source"}}' "$2" 2>/dev/null)
  [ "$source" = file ]
}

end_pod() {
  running=$(cri "$1" ps -q --pod "$2" 2>/dev/null)
  # shellcheck disable=SC2086
  [ -z "$running" ] || cri "$1" stop --timeout 20 $running >/dev/null 2>&1
  cri "$1" stopp "$2" >/dev/null 2>&1
  cri "$1" rmp --force "$2" >/dev/null 2>&1
}

# Ends pods beside each other.
end_those() {
  of=$1
  shift
  for id in "$@"; do end_pod "$of" "$id" & done
  wait
}

# Those that need the API or the pod network first, the API server before its etcd.
end_pods() {
  others= api= static=
  for id in $(pods "$1"); do
    if ! is_static "$1" "$id"; then
      others="$others $id"
    elif cri "$1" pods -q --id "$id" --name '^kube-apiserver-' 2>/dev/null | grep -q .; then
      api="$api $id"
    else
      static="$static $id"
    fi
  done
  for ids in "$others" "$api" "$static"; do
    # shellcheck disable=SC2086
    end_those "$1" $ids
  done
}

contained() {
  find /sys/fs/cgroup -path '*kubepods*' -name cgroup.procs -exec cat {} + 2>/dev/null | grep -q .
}

# Ends everything that a runtime runs for the kubelet, and the runtime.
leave() {
  if ! answers "$1"; then
    systemctl start "$2" >/dev/null 2>&1
    until_true 20 answers "$1" >/dev/null 2>&1 || :
  fi
  if answers "$1"; then
    tries=4
    while [ "$tries" -gt 0 ] && [ -n "$(pods "$1")" ]; do
      end_pods "$1"
      tries=$((tries - 1))
    done
    if [ -n "$(cri "$1" ps -q)" ]; then
      say "$2 does not end these containers:"
      cri "$1" ps >&2
      exit 1
    fi
    [ -z "$(pods "$1")" ] || say "$2 keeps sandboxes that are not ready: $(pods "$1" | tr '\n' ' ')"
  elif contained; then
    say "$2 does not answer, and containers of pods still run: restart the machine, then run the same command again"
    exit 1
  fi
  put_away "$2"
}

put_away() {
  # Docker's containers are run by the same containerd.
  if [ "$1" = containerd.service ] && systemctl is-active -q docker.service; then
    say "containerd goes on: Docker uses it"
    return
  fi
  rm -f "/etc/systemd/system/$1.d/ksp-runtime-switch.conf"
  if systemctl cat "$1" >/dev/null 2>&1; then
    systemctl disable --now "$1" >/dev/null 2>&1 || { say "$1 cannot be stopped"; exit 1; }
  fi
}

# Where kubeadm tells the kubelet its runtime: in the first two files from 1.34 on, in the last one before.
repoint() {
  for file in $kubelet/instance-config.yaml $kubelet/config.yaml $kubelet/kubeadm-flags.env; do
    [ -e "$file" ] || continue
    cp -p "$file" "$file.ksp-new" || exit 1
    sed -E -e "s#^((containerRuntimeEndpoint|imageServiceEndpoint):[[:space:]]*\"?)unix://[^\" ]*#\\1$new#" \
      -e "s#(--(container-runtime|image-service)-endpoint=)unix://[^\" ]*#\\1$new#g" "$file" >"$file.ksp-new" || exit 1
    if cmp -s "$file" "$file.ksp-new"; then
      rm -f "$file.ksp-new"
    else
      sync "$file.ksp-new" && mv -f "$file.ksp-new" "$file" || exit 1
    fi
  done
}

# Every static pod has a container that runs.
static_pods_run() {
  for file in "$manifests"/*.yaml; do
    [ -e "$file" ] || continue
    pod=$(sed -n 's/^  name:[[:space:]]*//p' "$file" | head -n 1)
    id=$(cri "$new" pods -q --state ready --name "^$pod-$node\$" | head -n 1)
    [ -n "$id" ] && [ -n "$(cri "$new" ps -q --state running --pod "$id")" ] || { echo "$pod does not run yet"; return 1; }
  done
}

control_plane_is_well() {
  if [ -e $manifests/etcd.yaml ]; then etcd endpoint health || return 1; fi
  as_admin --server="https://$server" get --raw=/readyz &&
    as_admin --server=https://127.0.0.1:10257 --insecure-skip-tls-verify get --raw=/healthz &&
    as_admin --server=https://127.0.0.1:10259 --insecure-skip-tls-verify get --raw=/livez
}

# A status from before would not name the new runtime.
is_ready() {
  found=$(as_kubelet get node "$node" -o jsonpath='{.status.nodeInfo.containerRuntimeVersion} {.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].message}') || return 1
  case $found in
  "$reports://"*" True "*) return 0 ;;
  esac
  echo "the cluster says: $found"
  return 1
}

# After a change of mind, the runtime that the node should have had came no further than beside the other one.
end() {
  while [ $# -ge 2 ]; do
    put_away "$2"
    shift 2
  done
  rm -f $note
}

give_up() {
  say "$1"
  journalctl -u kubelet -n 8 --no-pager -o cat 2>/dev/null | cut -c1-300 >&2
  exit 1
}

# Only clusters from before Kubernetes 1.34 have it.
annotate() {
  key=kubeadm.alpha.kubernetes.io/cri-socket
  as_kubelet get node "$node" -o yaml 2>/dev/null | grep -q "^    $key:" || return 0
  as_kubelet annotate --overwrite node "$node" "$key=$new" >/dev/null
}

switch() {
  # A script that a killed run left at work came to its end meanwhile.
  if [ "$(head -n 2 $note 2>/dev/null)" = "$(printf 'switched\n%s' "$new")" ]; then return; fi
  until_true 60 answers "$new" || { say "$new does not answer: nothing is stopped"; exit 1; }
  spare
  write_note switching
  systemctl stop kubelet.service || exit 1
  while [ $# -ge 2 ]; do
    echo "ending what $2 runs"
    leave "$1" "$2"
    shift 2
  done
  show_network
  repoint
  echo "starting the kubelet"
  systemctl start kubelet.service || give_up "the kubelet does not start"
  until_true 240 static_pods_run || give_up "not every static pod runs (waited 240 s)"
  if [ "$server" != - ]; then
    until_true 240 control_plane_is_well || give_up "the control plane is not healthy (waited 240 s)"
  fi
  until_true 240 is_ready || give_up "the node is not Ready with $reports (waited 240 s)"
  annotate
  write_note switched
}

# A run that was killed may have left this at work.
if command -v flock >/dev/null; then
  exec 9>/run/ksp-runtime-switch.lock
  flock -w 900 9 || { say "another one is at work on this node"; exit 1; }
fi
sockets=
for word in "$@"; do case $word in unix://*) sockets="$sockets$word " ;; esac done
case $verb in
begin) begin ;;
pull) pull ;;
switch) switch "$@" ;;
end) end "$@" ;;
*) exit 2 ;;
esac
