//! What the kernel can do. A feature may be loaded, built in, or loadable; each kernel says so in other places.

use std::collections::BTreeSet;

use super::sheet::{Detector, Sheet, pairs};

pub(crate) const DETECTORS: &[Detector] = &[
    Detector {
        name: "modules",
        script: "r=/lib/modules/$(uname -r);echo '[active]';cut -d' ' -f1 /proc/modules;ls /sys/module;\
                 echo '[builtin]';sed 's,.*/,,;s,\\.ko.*,,' $r/modules.builtin;\
                 echo '[filesystems]';sed 's,.*\t,,' /proc/filesystems;\
                 echo '[loadable]';cut -d: -f1 $r/modules.dep | sed 's,.*/,,;s,\\.ko.*,,' | grep -xE \
                 '(overlay|br_netfilter|bridge|nf_tables|vxlan|geneve|ipip|ip_tables|ip6_tables|nf_conntrack|ip_set|ip_vs|veth|tun|wireguard|dummy|macvlan|fuse|xfs|dm_crypt|nbd|rbd|iscsi_tcp|nfs)';\
                 echo '[config]';{ gzip -dc /proc/config.gz || cat /boot/config-$(uname -r); } | grep -E \
                 '^CONFIG_(OVERLAY_FS|BRIDGE_NETFILTER|BRIDGE|NF_TABLES|VXLAN|GENEVE|NET_IPIP|IP_NF_IPTABLES|IP6_NF_IPTABLES|NF_CONNTRACK|IP_SET|IP_VS|VETH|TUN|WIREGUARD|DUMMY|MACVLAN|FUSE_FS|BPF_SYSCALL)=';\
                 echo '[paths]';ls -d /proc/sys/net/bridge /proc/net/ip_tables_names /proc/net/ip6_tables_names \
                 /proc/sys/net/netfilter/nf_conntrack_max /proc/net/ip_vs /dev/net/tun /dev/fuse \
                 /proc/sys/kernel/unprivileged_bpf_disabled /sys/kernel/btf/vmlinux /sys/fs/bpf;\
                 nft list tables >/dev/null && echo nft",
        read: modules,
    },
    Detector {
        name: "cgroup",
        script: "echo \"type $(stat -fc %T /sys/fs/cgroup)\";[ -d /sys/fs/cgroup/unified ] && echo 'unified yes';\
                 echo \"controllers $(cat /sys/fs/cgroup/cgroup.controllers || cut -f1 /proc/cgroups | tr '\\n' ' ')\"",
        read: cgroup,
    },
];

/// Feature, symbol of the kernel's configuration, path that shows it.
const FEATURES: &[(&str, &str, &str)] = &[
    ("overlay", "OVERLAY_FS", ""),
    ("bridge", "BRIDGE", "/proc/sys/net/bridge"),
    ("br_netfilter", "BRIDGE_NETFILTER", "/proc/sys/net/bridge"),
    ("nf_tables", "NF_TABLES", "nft"),
    ("vxlan", "VXLAN", ""),
    ("geneve", "GENEVE", ""),
    ("ipip", "NET_IPIP", ""),
    ("ip_tables", "IP_NF_IPTABLES", "/proc/net/ip_tables_names"),
    ("ip6_tables", "IP6_NF_IPTABLES", "/proc/net/ip6_tables_names"),
    ("nf_conntrack", "NF_CONNTRACK", "/proc/sys/net/netfilter/nf_conntrack_max"),
    ("ip_set", "IP_SET", ""),
    ("ip_vs", "IP_VS", "/proc/net/ip_vs"),
    ("veth", "VETH", ""),
    ("tun", "TUN", "/dev/net/tun"),
    ("wireguard", "WIREGUARD", ""),
    ("dummy", "DUMMY", ""),
    ("macvlan", "MACVLAN", ""),
    ("fuse", "FUSE_FS", "/dev/fuse"),
    ("bpf", "BPF_SYSCALL", "/proc/sys/kernel/unprivileged_bpf_disabled"),
    ("btf", "", "/sys/kernel/btf/vmlinux"),
    ("bpffs", "", "/sys/fs/bpf"),
];

fn modules(text: &str, sheet: &mut Sheet) {
    let mut active = BTreeSet::new();
    let (mut loadable, mut config, mut paths) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut section = "";
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if line.starts_with('[') {
            section = line;
            continue;
        }
        // Files name modules with dashes or underscores; the kernel knows underscores.
        match section {
            "[active]" | "[builtin]" => active.insert(line.replace('-', "_")),
            "[filesystems]" => paths.insert(format!("filesystem {line}")),
            "[loadable]" => loadable.insert(line.replace('-', "_")),
            "[config]" => config.insert(line.to_owned()),
            _ => paths.insert(line.to_owned()),
        };
    }
    if section.is_empty() {
        return;
    }
    for (feature, symbol, path) in FEATURES {
        let built_in = !symbol.is_empty() && config.contains(&format!("CONFIG_{symbol}=y"));
        let shown =
            (!path.is_empty() && paths.contains(*path)) || paths.contains(&format!("filesystem {feature}"));
        let has = active.contains(*feature) || built_in || shown || loadable.contains(*feature);
        sheet.set(&format!("kernel.has.{feature}"), has);
    }
    sheet.set("kernel.modules", active.into_iter().collect::<Vec<_>>());
    sheet.set("kernel.loadable", loadable.into_iter().collect::<Vec<_>>());
}

fn cgroup(text: &str, sheet: &mut Sheet) {
    let mut kind = "";
    let mut unified = false;
    for (key, value) in pairs(text, ' ') {
        match key {
            "type" => kind = value,
            "unified" => unified = true,
            "controllers" => {
                let names: Vec<&str> =
                    value.split_whitespace().filter(|name| !name.starts_with('#')).collect();
                sheet.set("cgroup.controllers", names);
            }
            _ => {}
        }
    }
    match kind {
        "" => {}
        "cgroup2fs" => sheet.set("cgroup.version", "v2"),
        _ if unified => sheet.set("cgroup.version", "hybrid"),
        _ => sheet.set("cgroup.version", "v1"),
    }
}
