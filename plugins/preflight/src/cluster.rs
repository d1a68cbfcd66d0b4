//! What must differ between machines, and what must not. Clones share a machine-id, and then addresses, node objects and VXLAN interfaces
//! collide; a packet that is too large for the machine that it goes to is lost without a word (T50).

use std::collections::BTreeMap;

use ksp_sdk::prelude::*;

use crate::Found;

/// What tells a machine from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    name: String,
    machine_id: Option<String>,
    hostname: Option<String>,
    address: String,
    addresses: Vec<String>,
    /// Bytes of a packet by the interface with `address`.
    mtu: Option<u64>,
}

#[derive(Deserialize)]
struct Assigned {
    address: String,
    interface: Option<String>,
}

#[derive(Deserialize)]
struct Interface {
    mtu: u64,
}

/// From the facts of all nodes that could be read.
pub fn read(nodes: &Nodes) -> Vec<Identity> {
    let identity = |(node, facts): (&Node, Facts)| {
        let assigned: Vec<Assigned> = facts.read("addresses").unwrap_or_default();
        let interfaces: BTreeMap<String, Interface> = facts.read("network.interfaces").unwrap_or_default();
        let own =
            assigned.iter().find(|it| it.address == node.address).and_then(|it| it.interface.as_deref());
        Identity {
            name: node.name.clone(),
            machine_id: facts.text("machine-id"),
            hostname: facts.text("hostname"),
            address: node.address.clone(),
            mtu: own.and_then(|own| interfaces.get(own)).map(|interface| interface.mtu),
            addresses: assigned.into_iter().map(|it| it.address).collect(),
        }
    };
    nodes.with_facts().map(identity).collect()
}

/// Findings, each with the name of its node.
pub fn check(nodes: &[Identity]) -> Vec<(String, Found)> {
    let mut found = doubled(nodes, |node| node.machine_id.clone(), "preflight.machine-id", "machine-id");
    found.extend(doubled(nodes, |node| node.hostname.clone(), "preflight.hostname", "hostname"));
    let elsewhere =
        nodes.iter().filter(|node| !node.addresses.is_empty() && !node.addresses.contains(&node.address));
    found.extend(elsewhere.map(|node| {
        let message = format!("the address {} is on none of its interfaces", node.address);
        let hint = "`address` is what other nodes reach it by; `ssh.host` is for a different way in";
        (node.name.clone(), Found::error("preflight.address", message, hint))
    }));
    found.extend(too_large(nodes));
    found
}

/// Nodes that send larger packets than another one takes.
fn too_large(nodes: &[Identity]) -> Vec<(String, Found)> {
    let known = nodes.iter().filter_map(|node| Some((node, node.mtu?)));
    let Some((smallest, least)) = known.clone().min_by_key(|(_, mtu)| *mtu) else { return Vec::new() };
    let larger = known.filter(|(_, mtu)| *mtu > least);
    larger
        .map(|(node, mtu)| {
            let message =
                format!("sends packets of up to {mtu} bytes, and `{}` takes up to {least}", smallest.name);
            let hint = "give the interfaces between nodes the same MTU, or the network's stage the `mtu` that suits all";
            (node.name.clone(), Found::warning("preflight.mtu", message, hint))
        })
        .collect()
}

fn doubled(
    nodes: &[Identity],
    key: impl Fn(&Identity) -> Option<String>,
    code: &'static str,
    what: &str,
) -> Vec<(String, Found)> {
    let mut first: BTreeMap<String, &str> = BTreeMap::new();
    let mut found = Vec::new();
    for node in nodes {
        let Some(value) = key(node) else { continue };
        match first.get(&value) {
            Some(other) => {
                let message = format!("has the {what} `{value}` of node `{other}`");
                found.push((node.name.clone(), Found::error(code, message, "a clone needs one of its own")));
            }
            None => {
                first.insert(value, &node.name);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(name: &str, machine_id: &str, address: &str) -> Identity {
        Identity {
            name: name.into(),
            machine_id: Some(machine_id.into()),
            hostname: Some(name.into()),
            address: address.into(),
            addresses: vec!["127.0.0.1".into(), "10.0.0.1".into(), "10.0.0.2".into()],
            mtu: Some(1500),
        }
    }

    #[test]
    fn a_clone_is_found() {
        let found = check(&[identity("a", "1", "10.0.0.1"), identity("b", "1", "10.0.0.2")]);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].0.as_str(), found[0].1.code), ("b", "preflight.machine-id"));
    }

    #[test]
    fn an_address_of_nobody_is_found() {
        let found = check(&[identity("a", "1", "10.0.0.9")]);
        assert_eq!(found[0].1.code, "preflight.address");
    }

    /// T50.
    #[test]
    fn packets_that_another_node_does_not_take_are_found() {
        let (mut jumbo, plain) = (identity("a", "1", "10.0.0.1"), identity("b", "2", "10.0.0.2"));
        let unknown = Identity { mtu: None, ..identity("c", "3", "10.0.0.1") };
        assert_eq!(check(&[jumbo.clone(), plain.clone(), unknown.clone()]), []);
        jumbo.mtu = Some(9000);
        let found = check(&[jumbo, plain, unknown]);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].0.as_str(), found[0].1.code), ("a", "preflight.mtu"));
        assert_eq!(found[0].1.severity, Severity::Warn);
    }
}
