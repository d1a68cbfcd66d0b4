//! Networks of pods and Services, and what must not be inside them.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::diagnostic::Diagnostic;
use crate::manifest::check::Check;
use crate::manifest::{codes, syntax};
use crate::node::Role;

const PODS: &str = "/cluster/pod-cidr";
const SERVICES: &str = "/cluster/service-cidr";

/// A network without host bits.
pub fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().filter(|network| network.trunc() == *network && network.prefix_len() > 0)
}

/// How many nodes a pod network has room for: kubeadm gives each a /24, with IPv6 a /64 (`--node-cidr-mask-size`).
pub fn node_networks(pods: &IpNet) -> u64 {
    let mask = node_mask(pods);
    1u64.checked_shl(u32::from(mask.saturating_sub(pods.prefix_len()))).unwrap_or(u64::MAX)
}

fn node_mask(pods: &IpNet) -> u8 {
    match pods {
        IpNet::V4(_) => 24,
        IpNet::V6(_) => 64,
    }
}

fn both(check: &Check<'_>) -> [(&'static str, &'static str, Option<IpNet>); 2] {
    let cluster = &check.file.cluster;
    [(PODS, "pod", network(&cluster.pod_cidr)), (SERVICES, "service", network(&cluster.service_cidr))]
}

/// Addresses of nodes that are addresses, with their JSON pointers and names.
fn addresses(check: &Check<'_>) -> Vec<(String, String, IpAddr)> {
    let parsed = check.nodes().filter_map(|(pointer, node)| {
        Some((format!("{pointer}/address"), format!("node `{}`", node.name), node.address.parse().ok()?))
    });
    let endpoint =
        syntax::endpoint(&check.file.cluster.endpoint).ok().and_then(|endpoint| endpoint.host.parse().ok());
    parsed
        .chain(endpoint.map(|address| ("/cluster/endpoint".into(), "the endpoint".into(), address)))
        .collect()
}

/// Networks, written as networks.
pub fn cidrs(check: &mut Check<'_>) {
    let cluster = &check.file.cluster;
    for (pointer, text) in [(PODS, &cluster.pod_cidr), (SERVICES, &cluster.service_cidr)] {
        if network(text).is_some() {
            continue;
        }
        let key = pointer.rsplit('/').next().unwrap_or_default();
        let mut finding = Diagnostic::error(codes::BAD_CIDR, format!("`{key}` is not a network"));
        finding = match text.parse::<IpNet>() {
            Ok(network) if network.prefix_len() > 0 => {
                finding.hint(format!("write `{key} = \"{}\"`, without host bits", network.trunc()))
            }
            Ok(_) => finding.hint("/0 is every address there is"),
            Err(_) if text.contains(',') => {
                finding.hint("one network only; two families at once are not supported")
            }
            Err(_) => finding.hint("write an address and a prefix length, such as `10.244.0.0/16`"),
        };
        check.report(pointer, finding);
    }
}

/// An address is a pod's or a Service's, never both.
pub fn overlap(check: &mut Check<'_>) {
    let [(.., Some(pods)), (.., Some(services))] = both(check) else { return };
    if pods.contains(&services) || services.contains(&pods) {
        let message = format!("pod addresses {pods} and Service addresses {services} overlap");
        let finding = Diagnostic::error(codes::CIDR_OVERLAP, message)
            .at(check.value(SERVICES, ""))
            .at(check.value(PODS, "pods"))
            .hint(
                "choose private networks apart from each other, such as `10.244.0.0/16` and `10.96.0.0/16`",
            );
        check.report(SERVICES, finding);
    }
}

/// One address family in the whole cluster.
pub fn families(check: &mut Check<'_>) {
    let [(.., Some(pods)), (.., services)] = both(check) else { return };
    let name = |v4: bool| if v4 { "IPv4" } else { "IPv6" };
    let v4 = pods.addr().is_ipv4();
    let mut others = Vec::new();
    if let Some(services) = services {
        others.push((SERVICES.to_owned(), "service-cidr".to_owned(), services.addr()));
    }
    others.extend(addresses(check));
    for (pointer, who, address) in others {
        if address.is_ipv4() != v4 {
            let message = format!("{who} is {} and pods are {}", name(!v4), name(v4));
            let finding = Diagnostic::error(codes::MIXED_FAMILIES, message)
                .at(check.value(&pointer, ""))
                .at(check.value(PODS, "pods"))
                .hint("use one family for nodes, pods and Services");
            check.report(&pointer, finding);
        }
    }
}

/// kubeadm's bounds: at least ten addresses, at most 2^20 (`ValidateServiceSubnetSize`).
pub fn service_size(check: &mut Check<'_>) {
    let [_, (pointer, _, Some(services))] = both(check) else { return };
    let host_bits = services.max_prefix_len() - services.prefix_len();
    if !(4..=20).contains(&host_bits) {
        let (largest, smallest) = (services.max_prefix_len() - 20, services.max_prefix_len() - 4);
        let finding = Diagnostic::error(
            codes::CIDR_SIZE,
            format!("{services} is no possible size for Service addresses"),
        )
        .hint(format!("use a prefix length from /{largest} to /{smallest}"));
        check.report(pointer, finding);
    }
}

/// kubeadm's bounds: no more than 2^16 node networks, at least one (`ValidatePodSubnetNodeMask`).
pub fn pod_size(check: &mut Check<'_>) {
    let [(pointer, _, Some(pods)), _] = both(check) else { return };
    let mask = node_mask(&pods);
    if pods.prefix_len() > mask || mask - pods.prefix_len() > 16 {
        let finding =
            Diagnostic::error(codes::CIDR_SIZE, format!("{pods} is no possible size for pod addresses"))
                .hint(format!(
                    "use a prefix length from /{} to /{mask}; each node gets a /{mask}",
                    mask - 16
                ));
        check.report(pointer, finding);
    }
}

/// A node without a pod network never becomes ready, and one that has joined later has none when the others have taken them all.
pub fn pod_networks_for_all_nodes(check: &mut Check<'_>) {
    let [(pointer, _, Some(pods)), _] = both(check) else { return };
    if pods.prefix_len() > node_mask(&pods) {
        return;
    }
    // Nodes that only run etcd are none of Kubernetes'.
    let runs_pods = |roles: &[Role]| roles.iter().any(|role| *role != Role::Etcd);
    let nodes = check.file.node.iter().filter(|node| runs_pods(&node.roles)).count() as u64;
    let (room, mask) = (node_networks(&pods), node_mask(&pods));
    let finding = if nodes > room {
        let bits = 64 - nodes.saturating_sub(1).leading_zeros();
        let prefix = u32::from(mask).saturating_sub(bits);
        let message = format!("{pods} has room for {room} nodes (a /{mask} each), there are {nodes}");
        Diagnostic::error(codes::POD_CIDR_TOO_SMALL, message)
            .hint(format!("use /{prefix} or larger, with room to grow; it cannot be changed later"))
    } else if nodes * 10 > room * 9 {
        let message = format!("{pods} has room for {room} nodes (a /{mask} each), {nodes} are taken");
        Diagnostic::warning(codes::POD_CIDR_NEARLY_FULL, message)
            .hint("use a larger one when the cluster is to grow; it cannot be changed later")
    } else {
        return;
    };
    check.report(pointer, finding);
}

/// Traffic to such a node would go to a pod or a Service instead.
pub fn addresses_inside(check: &mut Check<'_>) {
    let inside = addresses(check);
    for (cidr, what, network) in both(check) {
        let Some(network) = network else { continue };
        for (pointer, who, address) in inside.iter().filter(|(.., address)| network.contains(address)) {
            let message = format!("{who} has an address inside `{what}-cidr` {network}");
            let finding = Diagnostic::error(codes::ADDRESS_IN_CIDR, message)
                .at(check.value(pointer, address.to_string()))
                .at(check.value(cidr, ""))
                .hint(format!(
                    "choose another `{what}-cidr`; it must be apart from every network the nodes are in"
                ));
            check.report(pointer, finding);
        }
    }
}
