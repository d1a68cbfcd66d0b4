//! Pools that overlap, are too small, or cannot work.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use ksp_sdk::prelude::*;

use crate::Calico;
use crate::pool::{EVERYWHERE, Pool, is_v6, network};

/// What a node may run unless the kubelet is told otherwise.
const PODS_EACH: u64 = 110;

/// Calico's bounds.
const SIZES_V4: std::ops::RangeInclusive<u8> = 20..=32;
const SIZES_V6: std::ops::RangeInclusive<u8> = 116..=128;

/// All that is wrong with them.
pub fn findings(stage: &Calico, spec: &Spec, nodes: &[Node]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    let mut known: Vec<(usize, IpNet)> = Vec::new();
    for (place, pool) in stage.pools.iter().enumerate() {
        let at = |key: &str| format!("/pools/{place}/{key}");
        let name = pool.name(spec);
        if !is_name(&name) {
            let finding = Finding::error(at("name"), format!("`{name}` is no name of an object"));
            findings.push(finding.hint("use small letters, digits, `-` and `.`"));
        }
        if names.insert(name.clone(), place).is_some() {
            let finding = Finding::error(at("name"), format!("two pools are called `{name}`"));
            findings.push(finding.hint("give each a `name`"));
        }
        let Some(network) = pool.network(spec) else {
            findings.push(not_a_network(pool.cidr(spec), at("cidr")));
            continue;
        };
        findings.extend(place_of(&network, spec, nodes).into_iter().map(|(message, hint, fatal)| {
            let finding = if fatal { Finding::error } else { Finding::warning };
            finding(at("cidr"), message).hint(hint)
        }));
        if let Some((other, overlapped)) = known.iter().find(|(_, other)| overlap(other, &network)) {
            let message = format!("{network} overlaps {overlapped} of `{}`", stage.pools[*other].name(spec));
            findings.push(Finding::error(at("cidr"), message).hint("give each pool a network of its own"));
        }
        known.push((place, network));
        findings.extend(size(pool, spec, &network, &at("block-size")));
        if pool.encapsulation.is_ipip() && is_v6(pool.cidr(spec)) {
            let finding = Finding::error(at("encapsulation"), "IP in IP is for IPv4 alone");
            findings.push(finding.hint("write `encapsulation = \"vxlan\"`"));
        }
        if pool.encapsulation.needs_bgp() && !stage.bgp.enabled {
            let message = format!(
                "`{}` needs BGP: without it no node learns where the pods of others are",
                pool.encapsulation.name()
            );
            let finding = Finding::error(at("encapsulation"), message);
            findings.push(finding.hint("write `[bgp] enabled = true`, or `encapsulation = \"vxlan\"`"));
        }
    }
    if findings.is_empty() {
        findings.extend(room(stage, spec, nodes.len() as u64));
    }
    findings
}

fn not_a_network(text: &str, at: String) -> Finding {
    let finding = Finding::error(at, format!("`{text}` is not a network"));
    match text.parse::<IpNet>() {
        Ok(parsed) => finding.hint(format!("write `{}`, without host bits", parsed.trunc())),
        Err(_) => finding.hint("write an address and a prefix length, such as `10.244.0.0/16`"),
    }
}

/// What else is where the pool is: a message, a hint, and whether that refuses it.
fn place_of(pool: &IpNet, spec: &Spec, nodes: &[Node]) -> Vec<(String, String, bool)> {
    let mut found = Vec::new();
    let apart = "choose a private network that nothing else uses";
    if is_v6(&pool.to_string()) != is_v6(&spec.pod_cidr) {
        let family = |v6: bool| if v6 { "IPv6" } else { "IPv4" };
        let v6 = is_v6(&spec.pod_cidr);
        let message = format!("{pool} is {}, the cluster is {}", family(!v6), family(v6));
        return vec![(message, format!("use one family: pods are in {}", spec.pod_cidr), true)];
    }
    if network(&spec.service_cidr).is_some_and(|services| overlap(&services, pool)) {
        found.push((
            format!("{pool} overlaps Service addresses ({})", spec.service_cidr),
            apart.into(),
            true,
        ));
    }
    let within = |node: &&Node| node.address.parse::<IpAddr>().is_ok_and(|address| pool.contains(&address));
    if let Some(node) = nodes.iter().find(within) {
        found.push((
            format!("{} ({}) is a node's address within {pool}", node.address, node.name),
            apart.into(),
            true,
        ));
    }
    if found.is_empty() && network(&spec.pod_cidr).is_some_and(|pods| !pods.contains(pool)) {
        let message = format!("{pool} is not within the cluster's `pod-cidr` {}", spec.pod_cidr);
        let hint = "kube-proxy takes its pods for clients from outside; choose a part of `pod-cidr`";
        found.push((message, hint.into(), false));
    }
    found
}

fn size(pool: &Pool, spec: &Spec, network: &IpNet, at: &str) -> Option<Finding> {
    let (size, prefix) = (pool.block_size(spec), network.prefix_len());
    let sizes = if network.addr().is_ipv4() { SIZES_V4 } else { SIZES_V6 };
    if !sizes.contains(&size) {
        let hint = format!("use {} to {}; 0 is Calico's own", sizes.start(), sizes.end());
        return Some(Finding::error(at, format!("/{size} is no size of a block")).hint(hint));
    }
    (size < prefix).then(|| {
        let hint = format!("use {prefix} or more, or a larger pool");
        Finding::error(at, format!("a block of /{size} does not fit into {network}")).hint(hint)
    })
}

/// Whether all nodes find addresses in them.
fn room(stage: &Calico, spec: &Spec, nodes: u64) -> Vec<Finding> {
    let usable: Vec<&Pool> = stage.pools.iter().filter(|pool| !pool.disabled).collect();
    if usable.is_empty() {
        let finding = Finding::error("/pools", "no pool is left that pods get addresses from");
        return vec![finding.hint("add one, or leave `pools` out for one with the cluster's `pod-cidr`")];
    }
    if usable.iter().any(|pool| pool.node_selector != EVERYWHERE) {
        // Which nodes a selector means, Calico knows.
        return Vec::new();
    }
    let blocks = usable.iter().filter_map(|pool| pool.blocks(spec)).fold(0, u64::saturating_add);
    if blocks < nodes {
        let message = format!("the pools have {blocks} blocks, {nodes} nodes need one each");
        return vec![Finding::error("/pools", message).hint("use a larger pool, or a longer `block-size`")];
    }
    let addresses = usable.iter().filter_map(|pool| pool.network(spec)).map(|pool| {
        1u64.checked_shl(u32::from(pool.max_prefix_len() - pool.prefix_len())).unwrap_or(u64::MAX)
    });
    let addresses = addresses.fold(0, u64::saturating_add);
    if addresses < nodes.saturating_mul(PODS_EACH) {
        let message =
            format!("the pools have {addresses} addresses, {nodes} nodes may run {PODS_EACH} pods each");
        return vec![
            Finding::warning("/pools", message).hint("use a larger pool; another one can be added later"),
        ];
    }
    Vec::new()
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// A DNS subdomain.
pub(super) fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() < 254 && text.chars().all(fits) && edge(text.chars().next()) && edge(text.chars().last())
}

#[cfg(test)]
mod tests {
    use super::super::tests::paths;
    use ksp_sdk::json;

    fn pool(pool: ksp_sdk::serde_json::Value) -> Vec<String> {
        paths(json!({ "pools": [pool] }))
    }

    #[test]
    fn networks_that_are_none_or_somebody_elses() {
        for cidr in ["10.244.0.1/16", "10.244.0.0", "all", "10.96.0.0/12", "10.0.0.0/24", "fd00::/64"] {
            assert_eq!(pool(json!({ "cidr": cidr })), ["/pools/0/cidr"], "{cidr}");
        }
        assert!(pool(json!({ "cidr": "10.244.128.0/17" })).is_empty());
    }

    #[test]
    fn a_pool_outside_the_pod_network_is_worth_a_word() {
        assert_eq!(pool(json!({ "cidr": "10.245.0.0/16" })), ["/pools/0/cidr"]);
    }

    #[test]
    fn pools_apart_from_each_other() {
        let two =
            |second: &str| json!({ "pools": [{ "cidr": "10.244.0.0/17" }, { "name": "b", "cidr": second }] });
        assert!(paths(two("10.244.128.0/17")).is_empty());
        assert_eq!(paths(two("10.244.64.0/18")), ["/pools/1/cidr"]);
        assert_eq!(
            paths(json!({ "pools": [{ "cidr": "10.244.0.0/17" }, { "cidr": "10.244.128.0/17" }] })),
            ["/pools/1/name"]
        );
        assert_eq!(pool(json!({ "name": "Pool_1" })), ["/pools/0/name"]);
    }

    #[test]
    fn blocks_that_fit() {
        assert_eq!(pool(json!({ "block-size": 19 })), ["/pools/0/block-size"]);
        assert_eq!(pool(json!({ "block-size": 33 })), ["/pools/0/block-size"]);
        assert_eq!(pool(json!({ "cidr": "10.244.0.0/27", "block-size": 26 })), ["/pools/0/block-size"]);
        assert!(pool(json!({ "block-size": 24 })).is_empty());
    }

    #[test]
    fn room_for_all_nodes() {
        assert_eq!(pool(json!({ "cidr": "10.244.0.0/25" })), ["/pools"], "two blocks for three nodes");
        assert_eq!(pool(json!({ "cidr": "10.244.0.0/24" })), ["/pools"], "256 addresses for 330 pods");
        assert!(pool(json!({ "cidr": "10.244.0.0/25", "node-selector": "zone == 'a'" })).is_empty());
        assert_eq!(pool(json!({ "disabled": true })), ["/pools"]);
        assert_eq!(paths(json!({ "pools": [] })), ["/pools"]);
    }

    #[test]
    fn routes_by_bgp_alone() {
        for encapsulation in ["ipip", "ipip-cross-subnet", "none"] {
            assert_eq!(pool(json!({ "encapsulation": encapsulation })), ["/pools/0/encapsulation"]);
            let with = json!({ "pools": [{ "encapsulation": encapsulation }], "bgp": { "enabled": true } });
            assert!(paths(with).is_empty());
        }
        assert!(pool(json!({ "encapsulation": "vxlan-cross-subnet" })).is_empty());
    }
}
