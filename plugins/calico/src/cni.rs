//! The configuration that the runtime reads: Calico's plugin, then ports of the node and bandwidth.

use ksp_sdk::prelude::*;

use crate::{Calico, pool};

/// As text. What stands between underscores, Calico's installer fills in on each node.
pub fn network(stage: &Calico, spec: &Spec) -> String {
    let v6 = pool::is_v6(&spec.pod_cidr);
    json!({
        "name": "k8s-pod-network",
        "cniVersion": "0.3.1",
        "plugins": [
            {
                "type": "calico",
                "log_level": "info",
                "log_file_path": "/var/log/calico/cni/cni.log",
                "datastore_type": "kubernetes",
                "nodename": "__KUBERNETES_NODE_NAME__",
                // 0: what the agent found out on this node.
                "mtu": stage.mtu,
                // In texts, as the plugin wants it.
                "ipam": {
                    "type": "calico-ipam",
                    "assign_ipv4": (!v6).to_string(),
                    "assign_ipv6": v6.to_string(),
                },
                "policy": { "type": "k8s" },
                "kubernetes": { "kubeconfig": "__KUBECONFIG_FILEPATH__" },
            },
            { "type": "portmap", "snat": true, "capabilities": { "portMappings": true } },
            { "type": "bandwidth", "capabilities": { "bandwidth": true } },
        ],
    })
    .to_string()
}
