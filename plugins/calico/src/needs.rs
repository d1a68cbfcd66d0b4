//! What a node must have for the options of the manifest. Only what facts say for certain refuses a node.

use ksp_sdk::prelude::*;

use crate::Calico;
use crate::pool::Encapsulation;

/// What WireGuard adds to a packet, over IPv4.
const WIREGUARD: u64 = 60;

/// The first kernel whose eBPF is enough; Red Hat's 4.18 has the same backported.
const EBPF_KERNEL: (u64, u64) = (5, 10);

/// Refuses nodes that cannot do it.
pub fn refuse(stage: &Calico, cx: &Context, nodes: &Nodes) {
    let refuse = |node: &Node, code: &str, message: String, hint: &str| {
        cx.plan().finding(Some(node), Severity::Error, code, message, Some(hint));
    };
    let features = features(stage);
    for (node, facts) in nodes.with_facts() {
        for (feature, what, hint) in &features {
            if facts.get(&format!("kernel.has.{feature}")).and_then(|has| has.as_bool()) == Some(false) {
                refuse(
                    node,
                    "calico.kernel",
                    format!("the kernel has no `{feature}`, which {what} needs"),
                    hint,
                );
            }
        }
        let release = facts.text("kernel.release").unwrap_or_default();
        if stage.ebpf && too_old(&release) {
            let message = format!("Linux {release} is too old for `ebpf`, which needs 5.10");
            refuse(node, "calico.kernel", message, "leave `ebpf` out, or upgrade the node");
        }
        let carried = interface(&facts, &node.address)
            .and_then(|name| facts.number(&format!("network.interfaces.{name}.mtu")));
        let largest = carried.map(|mtu| mtu.saturating_sub(overhead(stage)));
        if let Some(largest) = largest.filter(|largest| u64::from(stage.mtu) > *largest) {
            let message = format!(
                "`mtu = {}` is more than {largest}, which is left of the {} bytes that go between nodes",
                stage.mtu,
                carried.unwrap_or_default()
            );
            refuse(node, "calico.mtu", message, "leave `mtu` out: each node computes it");
        }
    }
}

/// Kernel features with what needs them and what to do without.
fn features(stage: &Calico) -> Vec<(&'static str, &'static str, &'static str)> {
    let any = |is: fn(Encapsulation) -> bool| stage.pools.iter().any(|pool| is(pool.encapsulation));
    let mut features = Vec::new();
    if any(Encapsulation::is_vxlan) {
        features.push(("vxlan", "a pool with VXLAN", "load the module, or choose another `encapsulation`"));
    }
    if any(Encapsulation::is_ipip) {
        features.push((
            "ipip",
            "a pool with IP in IP",
            "load the module, or write `encapsulation = \"vxlan\"`",
        ));
    }
    if stage.wireguard {
        features.push(("wireguard", "`wireguard`", "load the module, or leave `wireguard` out"));
    }
    if stage.ebpf {
        features.push(("bpf", "`ebpf`", "leave `ebpf` out"));
    }
    if stage.nftables {
        features.push(("nf_tables", "`nftables`", "leave `nftables` out"));
    }
    features
}

/// Bytes of a packet between nodes that no pool leaves to pods.
fn overhead(stage: &Calico) -> u64 {
    let encapsulations =
        stage.pools.iter().map(|pool| pool.encapsulation.overhead(crate::pool::is_v6(&pool.cidr))).max();
    encapsulations.unwrap_or(0).max(if stage.wireguard { WIREGUARD } else { 0 })
}

/// The interface that has the address.
fn interface(facts: &Facts, address: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Address {
        address: String,
        interface: Option<String>,
    }
    let known: Vec<Address> = facts.read("addresses")?;
    known.into_iter().find(|entry| entry.address == address)?.interface
}

fn too_old(release: &str) -> bool {
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u64>().ok());
    let (Some(Some(major)), Some(Some(minor))) = (numbers.next(), numbers.next()) else { return false };
    (major, minor) < EBPF_KERNEL && !(release.contains(".el8") && (major, minor) == (4, 18))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Pool;

    #[test]
    fn kernels_for_ebpf() {
        for old in ["5.4.0-150-generic", "4.19.0", "4.18.0-1", "3.10.0-1160.el7.x86_64"] {
            assert!(too_old(old), "{old}");
        }
        for fine in ["5.10.0-28-amd64", "6.1.0", "4.18.0-513.el8.x86_64", "unknown", ""] {
            assert!(!too_old(fine), "{fine}");
        }
    }

    #[test]
    fn the_largest_overhead_counts() {
        let pool = |encapsulation| Pool { encapsulation, ..Pool::default() };
        let mut stage =
            Calico { pools: vec![pool(Encapsulation::None), pool(Encapsulation::Ipip)], ..Calico::default() };
        assert_eq!(overhead(&stage), 20);
        stage.wireguard = true;
        assert_eq!(overhead(&stage), 60);
    }

    #[test]
    fn features_follow_from_the_options() {
        let names = |stage: &Calico| features(stage).iter().map(|(name, ..)| *name).collect::<Vec<_>>();
        assert_eq!(names(&Calico::default()), ["vxlan"]);
        let pools = vec![Pool { encapsulation: Encapsulation::IpipCrossSubnet, ..Pool::default() }];
        assert_eq!(
            names(&Calico { pools, wireguard: true, ebpf: true, ..Calico::default() }),
            ["ipip", "wireguard", "bpf"]
        );
    }
}
