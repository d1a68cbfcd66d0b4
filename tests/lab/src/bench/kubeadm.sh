#!/bin/bash
# What ksp is measured against: nodes made a cluster by hand, with what can overlap overlapping.
# The bench sets: key known_hosts cp more workers files registry flannel_yaml node_sh arch
#                 (`more`: further control planes, which join one after another)
#                 kubernetes containerd runc cni_plugins crictl flannel coredns
set -euo pipefail

began=${EPOCHREALTIME/./}
sockets=$(mktemp -d /tmp/ksp-bench.XXXXXX)
log=$sockets/init.log
options=(-F none -i "$key" -o IdentitiesOnly=yes -o "UserKnownHostsFile=$known_hosts" -o LogLevel=ERROR
    -o ConnectTimeout=10 -o ServerAliveInterval=5 -o ServerAliveCountMax=3
    -o ControlMaster=auto -o "ControlPath=$sockets/%h" -o ControlPersist=60)

step() {
    local now=$((${EPOCHREALTIME/./} - began))
    printf '%6d.%d s  %s\n' $((now / 1000000)) $((now / 100000 % 10)) "$1"
}
on() { ssh "${options[@]}" "root@$1" "${@:2}"; }
kubectl() { on "$cp" kubectl --kubeconfig /etc/kubernetes/admin.conf "$@" </dev/null; }
leave() {
    for node in $cp $more $workers; do
        ssh "${options[@]}" -O exit "root@$node" 2>/dev/null || true
    done
    rm -rf "$sockets"
}
trap leave EXIT
trap 'exit 143' TERM INT

settings() { declare -p files registry arch kubernetes containerd runc cni_plugins crictl; }

set_up() {
    { settings; cat "$node_sh"; } | on "$1" bash -s
}

pull() { printf '%s\n' "${@:2}" | on "$1" 'timeout 200 xargs -n 1 -P 5 crictl pull' >/dev/null; }

network() {
    local net='{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan","Port":8472}}'
    sed -e "s#[$]network#'$net'#; s#[$]cni_image#docker.io/flannel/flannel-cni-plugin:v1.7.1-flannel1#" \
        -e "s#[$]image#docker.io/flannel/flannel:v$flannel#; s#[$]api_host#\"$cp\"#" "$flannel_yaml" |
        on "$cp" 'cat > /root/flannel.yaml; timeout 180 sh -c "until kubectl --kubeconfig /etc/kubernetes/super-admin.conf \
            apply -f /root/flannel.yaml; do sleep 0.5; done" >/dev/null 2>&1'
    step 'Flannel applied'
}

init() {
    on "$cp" "timeout 300 kubeadm init --config=/dev/stdin ${more:+--upload-certs}" > "$log" 2>&1 <<END || { cat "$log" >&2; return 1; }
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens: [{ token: $token }]
certificateKey: $certificate_key
localAPIEndpoint: { advertiseAddress: $cp, bindPort: 6443 }
nodeRegistration:
  criSocket: unix:///run/containerd/containerd.sock
  ignorePreflightErrors: [SystemVerification]
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v$kubernetes
controlPlaneEndpoint: $cp:6443
networking: { podSubnet: 10.244.0.0/16, serviceSubnet: 10.96.0.0/16 }
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: systemd
failCgroupV1: false
imageGCHighThresholdPercent: 100
evictionHard: { nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0% }
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
conntrack: { maxPerCore: 0, min: 0 }
END
    step 'kubeadm init'
}

join() {
    on "$1" "timeout 300 kubeadm join $cp:6443 --token $token --discovery-token-ca-cert-hash $hash \
        --ignore-preflight-errors=SystemVerification ${*:2}" </dev/null >"$sockets/join-$1.log" 2>&1 ||
        { cat "$sockets/join-$1.log" >&2; return 1; }
}

# One after another: etcd takes one learner at a time.
join_control_planes() {
    for node in $more; do
        join "$node" --control-plane "--certificate-key=$certificate_key"
    done
    [ -z "$more" ] || step 'control planes joined'
}

# Each in parallel; fails when one does.
each() {
    local jobs=() job
    for node in $2; do "$1" "$node" "${@:3}" & jobs+=($!); done
    for job in "${jobs[@]}"; do wait "$job"; done
}

random=$(od -An -N11 -tx1 /dev/urandom | tr -d ' \n')
token=${random:0:6}.${random:6:16}
certificate_key=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
each set_up "$cp $more $workers"
step 'nodes set up'

each pull "$workers" registry.k8s.io/pause:3.10.2 "registry.k8s.io/kube-proxy:v$kubernetes" \
    "registry.k8s.io/coredns/coredns:v$coredns" "docker.io/flannel/flannel:v$flannel" \
    docker.io/flannel/flannel-cni-plugin:v1.7.1-flannel1 &
pulls=$!
network &
applied=$!
init
wait "$pulls"
step 'images pulled on the workers'
hash=$(grep -o 'sha256:[0-9a-f]*' "$log" | head -1)
join_control_planes &
joins=$!
each join "$workers"
step 'workers joined'
wait "$joins"
wait "$applied"

all=$(wc -w <<< "$cp $more $workers")
for ((try = 0; try < 240; try++)); do
    [ "$(kubectl get nodes -o name | wc -l)" -eq "$all" ] && break
    sleep 0.5
done
kubectl wait --for=condition=Ready node --all --timeout=180s >/dev/null
[ "$(kubectl get nodes -o name | wc -l)" -eq "$all" ]
step 'nodes Ready'
kubectl -n kube-system rollout status deployment/coredns --timeout=180s >/dev/null
step 'CoreDNS rolled out'
kubectl -n kube-system rollout status daemonset/kube-proxy --timeout=180s >/dev/null
kubectl -n kube-flannel rollout status daemonset/kube-flannel-ds --timeout=180s >/dev/null
step 'DaemonSets rolled out'
