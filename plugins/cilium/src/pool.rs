//! The addresses of pods, and each node's share of them.

use ipnet::IpNet;
use ksp_sdk::prelude::*;

use crate::{Cilium, Ipam};

/// Addresses that a kubelet wants by default, and the few that Cilium keeps for itself on a node.
const WANTED: u32 = 110 + 4;

/// Cilium keeps a bit a node, and no more than so many doublings.
const MOST_BITS: u8 = 16;

/// The addresses of pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// All of them.
    pub network: IpNet,
    /// The prefix length of a node's share.
    pub node_mask: u8,
}

impl Pool {
    /// As configured.
    ///
    /// # Errors
    /// It is no network, or none of the cluster's.
    pub fn of(stage: &Cilium, spec: &Spec) -> Result<Self, Finding> {
        let parse = |text: &str| text.parse::<IpNet>().ok().filter(|net| net.trunc() == *net);
        let Some(cluster) = parse(&spec.pod_cidr) else {
            return Err(Finding::error("", format!("`pod-cidr` is no network: {}", spec.pod_cidr)));
        };
        let network = if stage.pool.is_empty() {
            cluster
        } else {
            parse(&stage.pool).ok_or_else(|| {
                Finding::error("/pool", format!("`{}` is no network", stage.pool))
                    .hint("write an address without host bits and a prefix length, such as \"10.244.0.0/17\"")
            })?
        };
        if !cluster.contains(&network) {
            // kube-proxy and everything else that reads `pod-cidr` would take such a pod for somebody from outside (T51).
            return Err(Finding::error(
                "/pool",
                format!("{network} is not part of the cluster's pods, {cluster}"),
            )
            .hint("leave it out, or set `pod-cidr` of `[cluster]` so that it holds the pool"));
        }
        let node_mask = match (stage.node_mask, network) {
            (0, IpNet::V4(_)) => 24.max(network.prefix_len()),
            (0, IpNet::V6(_)) => {
                network.prefix_len().saturating_add(MOST_BITS).min(120).max(network.prefix_len())
            }
            (mask, _) => mask,
        };
        Ok(Self { network, node_mask })
    }

    /// What is wrong with it for so many nodes.
    pub fn findings(&self, stage: &Cilium, nodes: usize) -> Vec<Finding> {
        let Self { network, node_mask } = self;
        let (prefix, longest) = (network.prefix_len(), network.max_prefix_len() - 2);
        if !(prefix..=longest).contains(node_mask) {
            return vec![
                Finding::error("/node-mask", format!("a node's share of {network} cannot be a /{node_mask}"))
                    .hint(format!("from {prefix}, all of it, to {longest}, four addresses")),
            ];
        }
        if matches!(network, IpNet::V6(_)) && node_mask - prefix > MOST_BITS {
            return vec![
                Finding::error(
                    "/node-mask",
                    format!("Cilium cannot cut {network} into /{node_mask}: too many"),
                )
                .hint(format!("at most /{}", prefix + MOST_BITS)),
            ];
        }
        let shares = 1_u64 << (node_mask - prefix).min(63);
        if shares < nodes as u64 {
            return vec![
                Finding::error(
                    if stage.pool.is_empty() { "/node-mask" } else { "/pool" },
                    format!("{network} has room for {shares} nodes with a /{node_mask} each, and there are {nodes}"),
                )
                .hint("a longer `node-mask` gives each node less, a larger `pod-cidr` gives all more"),
            ];
        }
        let bits = network.max_prefix_len() - node_mask;
        if bits < 32 && (1_u32 << bits) < WANTED {
            return vec![
                Finding::warning(
                    "/node-mask",
                    format!("a /{node_mask} has {} addresses, a kubelet takes up to 110 pods", 1_u32 << bits),
                )
                .hint("a shorter `node-mask`, or `maxPods` of the kubelets"),
            ];
        }
        Vec::new()
    }
}

/// True when the pool is Cilium's business.
pub fn is_used(stage: &Cilium) -> bool {
    stage.ipam == Ipam::ClusterPool
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::spec;

    fn pool(pods: &str, pool: &str, node_mask: u8) -> Result<(Pool, Cilium), String> {
        let stage = Cilium { pool: pool.into(), node_mask, ..Cilium::default() };
        let spec = Spec { pod_cidr: pods.into(), ..spec() };
        let found = Pool::of(&stage, &spec).map_err(|finding| finding.message().to_owned())?;
        Ok((found, stage))
    }

    fn said(pods: &str, own: &str, mask: u8, nodes: usize) -> String {
        match pool(pods, own, mask) {
            Ok((pool, stage)) => {
                pool.findings(&stage, nodes).iter().map(|it| it.message().to_owned()).collect()
            }
            Err(message) => message,
        }
    }

    #[test]
    fn the_cluster_s_pods_are_the_pool() {
        let (found, _) = pool("10.244.0.0/16", "", 0).unwrap();
        assert_eq!((found.network.to_string().as_str(), found.node_mask), ("10.244.0.0/16", 24));
        let (found, _) = pool("fd00:10:244::/56", "", 0).unwrap();
        assert_eq!(found.node_mask, 72);
        let (found, _) = pool("fd00::/112", "", 0).unwrap();
        assert_eq!(found.node_mask, 120);
        let (found, _) = pool("10.244.0.0/28", "", 0).unwrap();
        assert_eq!(found.node_mask, 28);
    }

    #[test]
    fn a_pool_lies_within_the_cluster_s_pods_t51() {
        assert_eq!(said("10.244.0.0/16", "10.244.0.0/17", 0, 3), "");
        assert!(said("10.244.0.0/16", "10.245.0.0/16", 0, 3).contains("not part of"));
        assert!(said("10.244.0.0/16", "10.0.0.0/8", 0, 3).contains("not part of"));
        assert!(said("10.244.0.0/16", "10.244.0.1/17", 0, 3).contains("no network"));
        assert!(said("10.244.0.0/16", "pods", 0, 3).contains("no network"));
    }

    #[test]
    fn every_node_gets_a_share() {
        assert_eq!(said("10.244.0.0/22", "", 0, 4), "");
        assert!(said("10.244.0.0/22", "", 0, 5).contains("room for 4 nodes"));
        assert_eq!(said("10.244.0.0/22", "", 25, 8), "");
        assert!(said("10.244.0.0/16", "", 12, 1).contains("cannot be a /12"));
        assert!(said("10.244.0.0/16", "", 31, 1).contains("cannot be a /31"));
        assert!(said("10.244.0.0/16", "", 26, 1).contains("64 addresses"));
        assert!(said("fd00::/48", "", 80, 1).contains("too many"));
        assert_eq!(said("fd00::/48", "", 64, 100), "");
    }
}
