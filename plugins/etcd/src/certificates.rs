//! Certificates of members. Each purpose has its own; the authority's key is never on an etcd node.

use ksp_sdk::etcd;
use ksp_sdk::prelude::*;
use ksp_sdk::{CertificateRequest, Usage};

use crate::layout::{PKI, USER};

/// Leaf certificates live a year; the host replaces them 73 days before their end.
const DAYS: u32 = 365;

/// What the members on these nodes show, and what `etcdctl` shows them. The ops after which a member has to be restarted.
pub fn place(cx: &Context, nodes: &Nodes) -> Result<Vec<Op>> {
    let plan = cx.plan();
    plan.directory(nodes, PKI).mode(0o700).owner(USER, USER);
    let authority = etcd::authority(cx)?;
    let mut shown =
        vec![plan.file(nodes, format!("{PKI}/ca.crt"), authority.certificate()).owner(USER, USER)];
    for node in nodes {
        // A member is also a client: of other members, and through its gateway of itself.
        let both = || vec![Usage::Server, Usage::Client];
        let named = |name: &str, usages| request(&format!("{name}-{}", node.name), usages, names(node));
        shown.extend(put(cx, node, &authority, "server", named("etcd-server", both()))?);
        shown.extend(put(cx, node, &authority, "peer", named("etcd-peer", both()))?);
        let admin = request(&format!("etcd-admin-{}", node.name), vec![Usage::Client], Names::default());
        put(cx, node, &authority, "admin", admin)?;
    }
    Ok(shown)
}

#[derive(Default)]
struct Names {
    dns: Vec<String>,
    addresses: Vec<String>,
}

fn names(node: &Node) -> Names {
    Names {
        dns: vec![node.name.clone(), "localhost".into()],
        addresses: vec![node.address.clone(), "127.0.0.1".into(), "::1".into()],
    }
}

fn request(common_name: &str, usages: Vec<Usage>, names: Names) -> CertificateRequest {
    CertificateRequest {
        common_name: common_name.into(),
        organizations: Vec::new(),
        usages,
        dns_names: names.dns,
        ip_addresses: names.addresses,
        valid_days: DAYS,
    }
}

fn put(
    cx: &Context,
    node: &Node,
    authority: &Authority,
    purpose: &str,
    request: CertificateRequest,
) -> Result<[Op; 2]> {
    let issued = authority.issue(&format!("{}/{purpose}", node.name), &request)?;
    let plan = cx.plan();
    Ok([
        plan.secret_file(node, format!("{PKI}/{purpose}.key"), &issued.key()).owner(USER, USER),
        plan.file(node, format!("{PKI}/{purpose}.crt"), issued.certificate()).owner(USER, USER),
    ])
}
