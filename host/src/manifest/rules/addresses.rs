//! Addresses of nodes.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::diagnostic::Diagnostic;
use crate::manifest::check::Check;
use crate::manifest::codes;
use crate::manifest::schema::{ConnectionKind, NodeSection};

/// An IP address: certificates, etcd and the kubelet need one.
pub fn syntax(check: &mut Check<'_>) {
    for (pointer, node) in check.nodes() {
        if node.address.parse::<IpAddr>().is_ok() {
            continue;
        }
        let text = node.address.as_str();
        let plain = text.split(['/', '%']).next().unwrap_or_default();
        let plain = plain.strip_prefix('[').and_then(|rest| rest.split(']').next()).unwrap_or(plain);
        let candidates = [plain, plain.split(':').next().unwrap_or_default()];
        let hint = match candidates.into_iter().find(|candidate| candidate.parse::<IpAddr>().is_ok()) {
            Some(address) => format!("write `address = \"{address}\"`; a port goes into `ssh.port`"),
            None => "write the IP address here; a name to connect to goes into `ssh.host`".into(),
        };
        let finding = Diagnostic::error(
            codes::BAD_ADDRESS,
            format!("the address of `{}` is not an IP address", node.name),
        );
        check.report(&format!("{pointer}/address"), finding.hint(hint));
    }
}

/// An address that other machines can send to.
pub fn usable(check: &mut Check<'_>) {
    for (pointer, node) in check.nodes() {
        let Ok(address) = node.address.parse::<IpAddr>() else { continue };
        let reason = match address.to_canonical() {
            address if address.is_loopback() => "a loopback address: each machine is itself by it",
            address if address.is_unspecified() => "no address of a machine",
            address if address.is_multicast() => "a multicast address",
            IpAddr::V4(address) if address.is_link_local() => "link-local: it changes and is not routed",
            IpAddr::V4(address) if address.is_broadcast() => "the broadcast address",
            IpAddr::V6(address) if address.is_unicast_link_local() => {
                "link-local: it needs an interface and is not routed"
            }
            _ => continue,
        };
        let finding = Diagnostic::error(
            codes::UNUSABLE_ADDRESS,
            format!("other nodes cannot reach `{}` by {address}", node.name),
        )
        .at(check.value(&format!("{pointer}/address"), reason))
        .hint("`address` is how nodes reach each other; where ksp connects to goes into `ssh.host`");
        check.report(&format!("{pointer}/address"), finding);
    }
}

/// Two names for one machine would install everything twice over itself.
pub fn duplicates(check: &mut Check<'_>) {
    let mut seen: HashMap<IpAddr, (String, &str)> = HashMap::new();
    for (pointer, node) in check.nodes() {
        let Ok(address) = node.address.parse::<IpAddr>() else { continue };
        let pointer = format!("{pointer}/address");
        if let Some((first, name)) = seen.get(&address.to_canonical()) {
            let message = format!("`{name}` and `{}` have the same address", node.name);
            let finding = Diagnostic::error(codes::DUPLICATE_ADDRESS, message)
                .at(check.value(&pointer, "again here"))
                .at(check.value(first, "first here"));
            check.report(&pointer, finding);
        } else {
            seen.insert(address.to_canonical(), (pointer, &node.name));
        }
    }
}

/// Different addresses, but the same place to connect to: one machine again.
pub fn duplicate_targets(check: &mut Check<'_>) {
    let shared = &check.file.ssh;
    let target = |node: &NodeSection| {
        let host = node.ssh.host.clone()?.to_ascii_lowercase();
        let via = node.ssh.via.clone().or_else(|| shared.via.clone()).unwrap_or_default();
        Some((host, node.ssh.port.or(shared.port).unwrap_or(22), via))
    };
    let mut seen: HashMap<_, (String, String)> = HashMap::new();
    for (pointer, node) in check.nodes().filter(|(_, node)| node.connection == ConnectionKind::Ssh) {
        let Some(target) = target(node) else { continue };
        let pointer = format!("{pointer}/ssh/host");
        if let Some((first, name)) = seen.get(&target) {
            let message = format!("`{name}` and `{}` are reached by the same host and port", node.name);
            let finding = Diagnostic::error(codes::DUPLICATE_TARGET, message)
                .at(check.value(&pointer, "again here"))
                .at(check.value(first, "first here"));
            check.report(&pointer, finding);
        } else {
            seen.insert(target, (pointer, node.name.clone()));
        }
    }
}
