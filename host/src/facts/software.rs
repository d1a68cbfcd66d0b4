//! What is installed: init system, package manager, tools, mandatory access control, remains of a cluster.

use super::sheet::{Detector, Sheet, pairs};

pub(crate) const DETECTORS: &[Detector] = &[
    Detector {
        name: "systemd",
        script: "systemctl --version | head -n 1;echo \"state $(systemctl is-system-running)\";\
                 for u in firewalld ufw nftables;do systemctl is-active -q $u && echo \"firewall $u\";done;:",
        read: systemd,
    },
    Detector {
        name: "packages",
        script: "for p in apt-get dnf yum zypper apk pacman;do command -v $p >/dev/null && { echo $p;break; };done",
        read: packages,
    },
    Detector {
        name: "tools",
        script: "for t in curl wget tar gzip xz zstd unzip iptables ip6tables nft conntrack socat ebtables ethtool ipset ipvsadm \
                 modprobe sysctl ip ss mount nsenter unshare setfacl swapoff timedatectl chronyc flock sha256sum python3 perl \
                 openssl jq;do command -v $t >/dev/null && echo \"$t yes\" || echo \"$t no\";done",
        read: tools,
    },
    Detector {
        name: "access-control",
        script: "[ -e /sys/fs/selinux/enforce ] && echo \"selinux $(cat /sys/fs/selinux/enforce)\" || echo 'selinux disabled';\
                 echo \"apparmor $(cat /sys/module/apparmor/parameters/enabled)\"",
        read: access_control,
    },
    Detector {
        name: "paths",
        script: "ls -d /usr/bin/kubelet /usr/local/bin/kubelet /usr/bin/kubeadm /usr/local/bin/kubeadm \
                 /etc/kubernetes/admin.conf /etc/kubernetes/kubelet.conf /etc/kubernetes/manifests/kube-apiserver.yaml \
                 /etc/kubernetes/pki/ca.crt /etc/kubernetes/pki/ca.key /var/lib/kubelet/config.yaml /var/lib/etcd/member \
                 /usr/bin/containerd /usr/local/bin/containerd /etc/containerd/config.toml /run/containerd/containerd.sock \
                 /usr/bin/crio /usr/local/bin/crio /run/crio/crio.sock /usr/bin/dockerd /run/docker.sock /etc/cni/net.d \
                 /opt/cni/bin /var/lib/rancher/k3s /var/lib/k0s /etc/systemd/system/kubelet.service \
                 /usr/lib/systemd/system/kubelet.service;:",
        read: paths,
    },
];

fn systemd(text: &str, sheet: &mut Sheet) {
    let mut firewalls = Vec::new();
    for (key, value) in pairs(text, ' ') {
        match key {
            // "systemd 252 (252.38-1~deb12u1)"
            "systemd" => {
                sheet.set_number("systemd.version", value.split([' ', '~', '.']).next().unwrap_or(""))
            }
            "state" => sheet.set_text("systemd.state", value),
            "firewall" => firewalls.push(value),
            _ => {}
        }
    }
    sheet.set("firewall.active", firewalls);
}

fn packages(text: &str, sheet: &mut Sheet) {
    let name = text.trim();
    sheet.set_text("packages.manager", if name == "apt-get" { "apt" } else { name });
}

fn tools(text: &str, sheet: &mut Sheet) {
    for (tool, found) in pairs(text, ' ') {
        sheet.set(&format!("tools.{tool}"), found == "yes");
    }
}

fn access_control(text: &str, sheet: &mut Sheet) {
    for (key, value) in pairs(text, ' ') {
        match (key, value) {
            ("selinux", "1") => sheet.set("selinux.mode", "enforcing"),
            ("selinux", "0") => sheet.set("selinux.mode", "permissive"),
            ("selinux", _) => sheet.set("selinux.mode", "disabled"),
            ("apparmor", value) => sheet.set("apparmor.enabled", value == "Y"),
            _ => {}
        }
    }
}

fn paths(text: &str, sheet: &mut Sheet) {
    sheet.set("paths", text.lines().filter(|line| line.starts_with('/')).collect::<Vec<_>>());
}
