# Makes a bare machine ready for kubeadm. kubeadm.sh sends it, with its settings in front, to all nodes at once.
set -euo pipefail
jobs=()
unpack() { curl -sSf --max-time 120 "$files/$1" | tar -xz -C "$2" "${@:3}" & jobs+=($!); }
install_() { { curl -sSf --max-time 120 -o "$2" "$files/$1" && chmod 755 "$2"; } & jobs+=($!); }
github=github.com release=dl.k8s.io/release/v$kubernetes/bin/linux/$arch
mkdir -p /opt/cni/bin /etc/containerd /etc/systemd/system/kubelet.service.d
unpack "$github/containerd/containerd/releases/download/v$containerd/containerd-$containerd-linux-$arch.tar.gz" /usr/local
unpack "$github/containernetworking/plugins/releases/download/v$cni_plugins/cni-plugins-linux-$arch-v$cni_plugins.tgz" /opt/cni/bin
unpack "$github/kubernetes-sigs/cri-tools/releases/download/v$crictl/crictl-v$crictl-linux-$arch.tar.gz" /usr/local/bin crictl
install_ "$github/opencontainers/runc/releases/download/v$runc/runc.$arch" /usr/local/sbin/runc
for program in kubelet kubeadm kubectl; do install_ "$release/$program" /usr/local/bin/$program; done

printf 'overlay\nbr_netfilter\n' > /etc/modules-load.d/kubernetes.conf
modprobe -a overlay br_netfilter 2>/dev/null || true
cat > /etc/sysctl.d/90-kubernetes.conf <<'END'
net.ipv4.ip_forward = 1
net.bridge.bridge-nf-call-iptables = 1
net.bridge.bridge-nf-call-ip6tables = 1
net.ipv4.ip_local_reserved_ports = 30000-32767
kernel.panic = 10
kernel.panic_on_oops = 1
kernel.keys.root_maxbytes = 25000000
kernel.keys.root_maxkeys = 1000000
vm.overcommit_memory = 1
vm.panic_on_oom = 0
fs.inotify.max_user_instances = 8192
fs.inotify.max_user_watches = 524288
END
sysctl -q -p /etc/sysctl.d/90-kubernetes.conf
for host in registry.k8s.io docker.io; do
    mkdir -p "/etc/containerd/certs.d/$host"
    printf 'server = "https://%s"\n\n[host."%s"]\n  capabilities = ["pull", "resolve"]\n' \
        "${host/#docker.io/registry-1.docker.io}" "$registry" > "/etc/containerd/certs.d/$host/hosts.toml"
done
cat > /etc/crictl.yaml <<'END'
runtime-endpoint: unix:///run/containerd/containerd.sock
image-endpoint: unix:///run/containerd/containerd.sock
timeout: 10
END
cat > /etc/containerd/config.toml <<'END'
version = 4

[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"
pinned_images = { sandbox = "registry.k8s.io/pause:3.10.2" }
registry = { config_path = "/etc/containerd/certs.d" }

[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true

[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "runc"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
options = { SystemdCgroup = true }
END
cat > /etc/systemd/system/containerd.service <<'END'
[Unit]
Description=containerd container runtime
After=network.target local-fs.target

[Service]
Type=notify
ExecStartPre=-/sbin/modprobe overlay
ExecStart=/usr/local/bin/containerd
Restart=always
RestartSec=5
Delegate=yes
KillMode=process
OOMScoreAdjust=-999
LimitNOFILE=20000
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity

[Install]
WantedBy=multi-user.target
END
cat > /etc/systemd/system/kubelet.service <<'END'
[Unit]
Description=kubelet: the Kubernetes node agent
Wants=network-online.target
After=network-online.target

[Service]
ExecStart=/usr/local/bin/kubelet
Restart=always
StartLimitInterval=0
RestartSec=2

[Install]
WantedBy=multi-user.target
END
cat > /etc/systemd/system/kubelet.service.d/10-kubeadm.conf <<'END'
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/default/kubelet
ExecStart=
ExecStart=/usr/local/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
END
for job in "${jobs[@]}"; do wait "$job"; done
systemctl daemon-reload
systemctl -q enable --now containerd.service
systemctl -q enable kubelet.service
