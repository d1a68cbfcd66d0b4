//! BGP that would reach nobody, and peers that cannot be.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ksp_sdk::prelude::*;

use super::pools::is_name;
use crate::Calico;
use crate::bgp::{Bgp, Peer};
use crate::pool::network;

/// AS numbers that nobody may have (RFC 7607, 6793, 7300).
const NO_AS: [u32; 4] = [0, 23_456, 65_535, u32::MAX];

/// All that is wrong with it.
pub fn findings(stage: &Calico) -> Vec<Finding> {
    let bgp = &stage.bgp;
    let mut findings = Vec::new();
    if !bgp.enabled {
        let said = [
            ("peer", !bgp.peers.is_empty()),
            ("route-reflectors/nodes", !bgp.route_reflectors.nodes.is_empty()),
        ];
        for (key, _) in said.iter().filter(|(_, said)| *said) {
            let finding = Finding::error(format!("/bgp/{key}"), "this is for BGP, which is off");
            findings.push(finding.hint("write `enabled = true` beside it, or leave it out"));
        }
        return findings;
    }
    findings.extend(as_number(bgp.as_number, "/bgp/as-number"));
    if bgp.port == 0 {
        findings.push(Finding::error("/bgp/port", "0 is no port").hint("BGP's own is 179"));
    }
    let reflectors = &bgp.route_reflectors;
    if reflectors.cluster_id.parse::<Ipv4Addr>().map_or(true, |id| id.is_unspecified()) {
        let message = format!("`{}` does not have the form of an IPv4 address", reflectors.cluster_id);
        findings
            .push(Finding::error("/bgp/route-reflectors/cluster-id", message).hint("such as `244.0.0.1`"));
    }
    if !bgp.mesh && reflectors.nodes.is_empty() && bgp.peers.is_empty() {
        let finding =
            Finding::error("/bgp/mesh", "without a mesh, route reflectors or peers no node learns a route");
        findings.push(finding.hint("leave `mesh` out, or name `route-reflectors.nodes` or a `peer`"));
    }
    findings.extend(peers(bgp));
    for (key, networks) in [
        ("external-addresses", &bgp.advertise.external_addresses),
        ("load-balancer-addresses", &bgp.advertise.load_balancer_addresses),
    ] {
        for (place, text) in networks.iter().enumerate().filter(|(_, text)| network(text).is_none()) {
            let finding =
                Finding::error(format!("/bgp/advertise/{key}/{place}"), format!("`{text}` is not a network"));
            findings.push(finding.hint("write an address and a prefix length, without host bits"));
        }
    }
    findings
}

fn peers(bgp: &Bgp) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (place, peer) in bgp.peers.iter().enumerate() {
        let at = |key: &str| format!("/bgp/peer/{place}/{key}");
        if !is_name(&peer.name) || peer.name == "route-reflectors" {
            let finding = Finding::error(at("name"), format!("`{}` cannot be the name of a peer", peer.name));
            findings.push(finding.hint("use small letters, digits, `-` and `.`"));
        }
        if bgp.peers[..place].iter().any(|other| other.name == peer.name) {
            findings.push(Finding::error(at("name"), format!("two peers are called `{}`", peer.name)));
        }
        if !is_address(peer) {
            let message = format!("`{}` is not the address of a router", peer.address);
            findings.push(
                Finding::error(at("address"), message)
                    .hint("such as `10.0.0.254`, or with a port `10.0.0.254:179`"),
            );
        }
        findings.extend(as_number(peer.as_number, &at("as-number")));
    }
    findings
}

fn is_address(peer: &Peer) -> bool {
    let bare = peer.address.parse::<IpAddr>().ok();
    let with_port = || peer.address.parse::<SocketAddr>().ok().filter(|at| at.port() > 0).map(|at| at.ip());
    bare.or_else(with_port).is_some_and(|address| !address.is_unspecified() && !address.is_multicast())
}

fn as_number(number: u32, at: &str) -> Option<Finding> {
    NO_AS.contains(&number).then(|| {
        Finding::error(at, format!("{number} is an AS number that nobody may have"))
            .hint("private ones are 64512 to 65534 and 4200000000 to 4294967294")
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::paths;
    use ksp_sdk::json;

    fn bgp(mut bgp: ksp_sdk::serde_json::Value) -> Vec<String> {
        bgp["enabled"] = true.into();
        paths(json!({ "bgp": bgp }))
    }

    #[test]
    fn it_is_on_or_not_spoken_of() {
        let peer = json!({ "name": "top", "address": "10.0.0.254", "as-number": 64_513 });
        assert_eq!(paths(json!({ "bgp": { "peer": [peer] } })), ["/bgp/peer"]);
        assert_eq!(
            paths(json!({ "bgp": { "route-reflectors": { "nodes": "*" } } })),
            ["/bgp/route-reflectors/nodes"]
        );
        assert!(bgp(json!({ "peer": [peer], "mesh": false })).is_empty());
        assert_eq!(bgp(json!({ "mesh": false })), ["/bgp/mesh"]);
        assert!(
            bgp(json!({ "mesh": false, "route-reflectors": { "nodes": "role=control-plane" } })).is_empty()
        );
    }

    #[test]
    fn numbers_and_addresses_that_cannot_be() {
        for number in [0, 23_456, 65_535, u32::MAX] {
            assert_eq!(bgp(json!({ "as-number": number })), ["/bgp/as-number"]);
        }
        assert_eq!(bgp(json!({ "port": 0 })), ["/bgp/port"]);
        assert_eq!(
            bgp(json!({ "route-reflectors": { "cluster-id": "7" } })),
            ["/bgp/route-reflectors/cluster-id"]
        );
        let peer =
            |name: &str, address: &str| json!({ "name": name, "address": address, "as-number": 64_513 });
        for address in ["router", "0.0.0.0", "224.0.0.1", "10.0.0.254:0", "10.0.0.0/24", ""] {
            assert_eq!(bgp(json!({ "peer": [peer("top", address)] })), ["/bgp/peer/0/address"], "{address}");
        }
        for address in ["10.0.0.254:1179", "fd00::1", "[fd00::1]:179"] {
            assert!(bgp(json!({ "peer": [peer("top", address)] })).is_empty(), "{address}");
        }
        let twice = json!({ "peer": [peer("top", "10.0.0.1"), peer("top", "10.0.0.2")] });
        assert_eq!(bgp(twice), ["/bgp/peer/1/name"]);
        assert_eq!(bgp(json!({ "peer": [peer("Top", "10.0.0.1")] })), ["/bgp/peer/0/name"]);
        assert_eq!(
            bgp(json!({ "advertise": { "external-addresses": ["10.9.0.0/24", "10.9.0.1"] } })),
            ["/bgp/advertise/external-addresses/1"]
        );
    }
}
