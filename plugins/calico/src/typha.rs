//! Typha: one connection to the API for many agents, which it knows by their certificate, and they it.

use ksp_sdk::prelude::*;
use ksp_sdk::{CertificateRequest, Usage};

/// What stands between many nodes and the API.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Typha {
    /// From how many nodes on it runs; 0 is never.
    pub from_nodes: u32,
    /// How many of them; 0 goes by the number of nodes.
    pub replicas: u32,
}

impl Default for Typha {
    fn default() -> Self {
        Self { from_nodes: 50, replicas: 0 }
    }
}

/// Agents that one of them serves without effort.
const NODES_EACH: usize = 200;

impl Typha {
    /// Whether it runs in a cluster of this size.
    pub fn stands_between(&self, nodes: usize) -> bool {
        self.from_nodes > 0 && nodes >= self.from_nodes as usize
    }

    /// How many run: enough for all nodes and one that may be lost, each on a node of its own, with one node to spare for a rollout.
    pub fn replicas(&self, nodes: usize) -> usize {
        match self.replicas {
            0 => (nodes.div_ceil(NODES_EACH) + 1).max(3).min(nodes.saturating_sub(1)).max(1),
            replicas => replicas as usize,
        }
    }
}

/// Certificates and keys on each node: only root may read the keys.
const FOLDER: &str = "/etc/calico/typha";

/// Kubernetes' own certificates are as good for as long.
const DAYS: u32 = 365;

/// What Typha and the agents know each other by, on every node, for any may run either. What changes when one of them is renewed.
///
/// # Errors
/// The host gives no certificates.
pub fn certificates(cx: &Context, nodes: &Nodes) -> Result<String> {
    let plan = cx.plan();
    let authority = cx.authority("calico-typha", "calico-typha", 3650)?;
    plan.directory(nodes, FOLDER).mode(0o700).prepare();
    plan.file(nodes, format!("{FOLDER}/ca.crt"), authority.certificate()).prepare();
    let mut digests = Vec::new();
    for (file, name, usage) in
        [("server", "calico-typha", Usage::Server), ("client", "calico-node", Usage::Client)]
    {
        let request = CertificateRequest {
            common_name: name.into(),
            organizations: Vec::new(),
            usages: vec![usage],
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            valid_days: DAYS,
        };
        let issued = authority.issue(file, &request)?;
        let certificate = issued.certificate();
        plan.secret_file(nodes, format!("{FOLDER}/{file}.key"), &issued.key()).prepare();
        plan.file(nodes, format!("{FOLDER}/{file}.crt"), &certificate).prepare();
        digests.push(certificate.digest());
    }
    Ok(cx.blob(digests.concat()).digest())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_go_by_the_number_of_nodes() {
        let typha = Typha::default();
        let counts = [1, 2, 3, 4, 50, 400, 401, 1000].map(|nodes| typha.replicas(nodes));
        assert_eq!(counts, [1, 1, 2, 3, 3, 3, 4, 6]);
        assert_eq!(Typha { replicas: 5, ..Typha::default() }.replicas(1000), 5);
    }

    #[test]
    fn it_runs_from_a_number_of_nodes_on() {
        let typha = Typha::default();
        assert!(!typha.stands_between(49) && typha.stands_between(50));
        assert!(!Typha { from_nodes: 0, ..Typha::default() }.stands_between(1000));
    }
}
