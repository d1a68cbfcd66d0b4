//! What the schema cannot say: combinations and places that make no sense, each with what to write instead.

mod bgp;
mod pools;

use ksp_sdk::prelude::*;

use crate::{Calico, felix};

/// What every IPv6 link carries, and more than anything smaller is good for.
const SMALLEST_MTU: u32 = 1280;

/// The first version with rules by nftables.
const NFTABLES: (u32, u32) = (3, 29);

/// All that is wrong with it in this cluster.
pub fn findings(stage: &Calico, spec: &Spec, nodes: &[Node]) -> Vec<Finding> {
    let mut findings = pools::findings(stage, spec, nodes);
    findings.extend(bgp::findings(stage));
    findings.extend(options(stage));
    findings.extend(numbers(stage, nodes.len()));
    for (key, by) in felix::DECIDED.iter().filter(|(key, _)| stage.felix.contains_key(*key)) {
        let finding = Finding::error(format!("/felix/{key}"), format!("`{key}` follows from `{by}`"));
        findings.push(finding.hint(format!("leave it out here and set `{by}`")));
    }
    findings
}

fn options(stage: &Calico) -> Vec<Finding> {
    let mut findings = Vec::new();
    if stage.ebpf && stage.nftables {
        let finding = Finding::error("/nftables", "`ebpf` leaves no rules that nftables could hold");
        findings.push(finding.hint("leave one of the two out"));
    }
    if stage.nftables && release(&stage.version).is_some_and(|version| version < NFTABLES) {
        let finding =
            Finding::error("/nftables", format!("Calico {} has no rules by nftables", stage.version));
        findings.push(finding.hint("use 3.29 or newer, or leave `nftables` out"));
    }
    if stage.ebpf && stage.pools.iter().any(|pool| pool.encapsulation.is_ipip()) {
        let finding = Finding::warning(
            "/ebpf",
            "eBPF programs do not see into IP in IP: services lose the client's address",
        );
        findings.push(finding.hint("write `encapsulation = \"vxlan\"`"));
    }
    findings
}

fn numbers(stage: &Calico, nodes: usize) -> Vec<Finding> {
    let mut findings = Vec::new();
    if stage.mtu > 0 && stage.mtu < SMALLEST_MTU {
        let finding = Finding::error("/mtu", format!("{} bytes are too few for a packet", stage.mtu));
        findings.push(finding.hint("0 computes it; 1450 is right for VXLAN where the path carries 1500"));
    }
    let replicas = stage.typha.replicas as usize;
    if stage.typha.stands_between(nodes) && replicas > nodes {
        let message = format!("{replicas} of Typha need as many nodes, there are {nodes}");
        findings.push(Finding::error("/typha/replicas", message).hint("0 goes by the number of nodes"));
    }
    findings
}

/// "3.31.7" as (3, 31).
fn release(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A cluster with IPv4.
    pub(crate) fn spec() -> Spec {
        serde_json::from_value(json!({
            "name": "test", "kubernetes": "1.36.3", "endpoint": "api.test:6443", "pod-cidr": "10.244.0.0/16",
            "service-cidr": "10.96.0.0/16", "dns-domain": "cluster.local",
        }))
        .unwrap()
    }

    /// Three nodes.
    pub(crate) fn nodes() -> Vec<Node> {
        let node = |id: u32| {
            let spec =
                json!({ "name": format!("n{id}"), "address": format!("10.0.0.{id}"), "roles": ["worker"] });
            Node::for_test(id, serde_json::from_value(spec).unwrap())
        };
        (1..4).map(node).collect()
    }

    /// Where findings are, for a config.
    pub(crate) fn paths(config: serde_json::Value) -> Vec<String> {
        let stage: Calico = serde_json::from_value(config).unwrap();
        findings(&stage, &spec(), &nodes()).iter().map(|finding| finding.path().to_owned()).collect()
    }

    #[test]
    fn the_default_is_fine() {
        assert!(paths(json!({})).is_empty());
        assert!(paths(json!({ "ebpf": true, "wireguard": true, "mtu": 1450 })).is_empty());
    }

    #[test]
    fn options_that_exclude_each_other() {
        assert_eq!(paths(json!({ "ebpf": true, "nftables": true })), ["/nftables"]);
        assert_eq!(paths(json!({ "version": "3.28.5", "nftables": true })), ["/nftables"]);
        assert!(paths(json!({ "nftables": true })).is_empty());
        assert_eq!(
            paths(json!({ "felix": { "bpfEnabled": true, "vxlanMTU": 1, "xdpEnabled": false } })),
            ["/felix/bpfEnabled", "/felix/vxlanMTU"]
        );
    }

    #[test]
    fn numbers_out_of_range() {
        assert_eq!(paths(json!({ "mtu": 1000 })), ["/mtu"]);
        assert_eq!(paths(json!({ "typha": { "from-nodes": 1, "replicas": 4 } })), ["/typha/replicas"]);
        assert!(paths(json!({ "typha": { "replicas": 4 } })).is_empty(), "it does not run");
    }
}
