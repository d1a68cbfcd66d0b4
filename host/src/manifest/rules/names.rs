//! Names of the cluster and of nodes.

use std::collections::HashMap;

use crate::diagnostic::Diagnostic;
use crate::manifest::check::Check;
use crate::manifest::describe::describe;
use crate::manifest::{codes, syntax};

/// The cluster's name becomes part of file names, certificates and object names.
pub fn cluster_name(check: &mut Check<'_>) {
    if let Err(wrong) = syntax::label(&check.file.cluster.name) {
        let finding = Diagnostic::error(codes::BAD_CLUSTER_NAME, format!("the cluster's name {wrong}"))
            .hint("use lower-case letters, digits and `-`, such as `prod-1`");
        check.report("/cluster/name", finding);
    }
}

/// The domain goes into every certificate and every pod's resolv.conf.
pub fn dns_domain(check: &mut Check<'_>) {
    if let Err(wrong) = syntax::subdomain(&check.file.cluster.dns_domain, 253) {
        let finding = Diagnostic::error(codes::BAD_DNS_DOMAIN, format!("the DNS domain {wrong}"))
            .hint("the usual one is `cluster.local`");
        check.report("/cluster/dns-domain", finding);
    }
}

/// A node's name is also the value of its label `kubernetes.io/hostname`, hence 63 characters and not 253.
pub fn node_names(check: &mut Check<'_>) {
    for (pointer, node) in check.nodes() {
        if let Err(wrong) = syntax::subdomain(&node.name, 63) {
            let finding = Diagnostic::error(codes::BAD_NODE_NAME, format!("the node's name {wrong}"))
                .hint("use lower-case letters, digits and `-`, such as `cp1`");
            check.report(&format!("{pointer}/name"), finding);
        }
    }
}

/// Kubernetes knows nodes by name.
pub fn duplicate_node_names(check: &mut Check<'_>) {
    let mut seen: HashMap<&str, String> = HashMap::new();
    for (pointer, node) in check.nodes() {
        let pointer = format!("{pointer}/name");
        if let Some(first) = seen.get(node.name.as_str()) {
            let finding = Diagnostic::error(
                codes::DUPLICATE_NODE_NAME,
                format!("two nodes are called `{}`", node.name),
            )
            .at(check.value(&pointer, "again here"))
            .at(check.value(first, "first here"));
            check.report(&pointer, finding);
        } else {
            seen.insert(&node.name, pointer);
        }
    }
}

/// What Kubernetes supports: <https://kubernetes.io/docs/setup/best-practices/cluster-large/>.
pub const MOST_NODES: usize = 5_000;

/// No more nodes than Kubernetes supports.
pub fn number_of_nodes(check: &mut Check<'_>) {
    let count = check.file.node.len();
    if count > MOST_NODES {
        let pointer = format!("/node/{MOST_NODES}");
        let label = format!("{} is one too many", describe(check.source, &pointer));
        let finding = Diagnostic::error(
            codes::TOO_MANY_NODES,
            format!("{count} nodes; Kubernetes supports at most {MOST_NODES}"),
        )
        .at(check.value(&pointer, label));
        check.report(&pointer, finding);
    }
}
