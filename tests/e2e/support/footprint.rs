//! What there is on a node that ksp, Kubernetes or a network could have brought, to compare before and after.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use super::Lab;

/// Files but for logs and caches, interfaces, rules of packet filters, mounts, pinned BPF objects, units.
const LIST: &str = r#"
find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/log -o -path /var/cache -o -path /var/tmp \
  -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /var/lib/systemd -o -path /root \) -prune -o -printf 'file %p\n'
find /run -xdev -mindepth 1 -maxdepth 1 \( -path /run/systemd -o -path /run/user -o -path /run/sudo \) -prune -o -printf 'file %p\n'
find /var/lib/kubelet /var/lib/etcd -mindepth 1 -maxdepth 1 -printf 'file %p\n' 2>/dev/null
find /sys/fs/bpf -mindepth 1 -printf 'bpf %p\n' 2>/dev/null
ls /sys/class/net | sed 's/^/interface /'
for command in iptables ip6tables; do
  $command-save 2>/dev/null | grep -E '^(-A|:[^ ]+ -)' | sed "s/ \[.*//; s/^/$command /"
done
nft list tables 2>/dev/null | grep -v -E ' ip6? (filter|nat|mangle|raw)$' | sed 's/^/nftables /'
ip rule list | sed 's/^/rule /'
ip route list table all | grep -E 'proto (bird|80)|dev (cali|flannel|cilium|lxc|vxlan)' | sed 's/^/route /'
sed 's/^[^ ]* [^ ]* [^ ]* [^ ]* \([^ ]*\) .*/mount \1/' /proc/self/mountinfo | grep -E 'kubelet|containerd|crio|containers|netns|cilium|calico'
systemctl list-unit-files --no-legend --no-pager | sed 's/ .*//; s/^/unit /'
true
"#;

/// What may stay: sockets and locks that are gone with the next boot, and a folder that every real machine has.
const KEPT: [&str; 7] = [
    "file /run/agetty.reload",
    "file /run/containerd",
    "file /run/motd.dynamic",
    "file /run/netns",
    "file /run/nri",
    "file /run/xtables.lock",
    "file /usr/lib/modules",
];

/// What there is on one node.
pub struct Footprint {
    node: String,
    lines: BTreeSet<String>,
}

impl Footprint {
    /// Looks.
    pub fn of(lab: &Lab, node: &str) -> Result<Self> {
        let lines = lab.on(node, LIST)?.lines().map(str::to_owned).collect();
        Ok(Self { node: node.to_owned(), lines })
    }

    /// Fails when the node has something now that it had not then, but for [`KEPT`].
    pub fn expect_nothing_new(&self, lab: &Lab) -> Result<()> {
        let now = Self::of(lab, &self.node)?;
        let new = now.lines.difference(&self.lines);
        let new: Vec<&str> = new.map(String::as_str).filter(|line| !KEPT.contains(line)).collect();
        ensure!(new.is_empty(), "left on {}:\n{}", self.node, new.join("\n"));
        Ok(())
    }
}
