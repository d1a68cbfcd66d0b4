//! How packets go from node to node, and Flannel's own configuration file.

use ksp_sdk::prelude::*;

/// How packets go from node to node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// In UDP packets: works on any network.
    #[default]
    Vxlan,
    /// As they are, by routes that name the other node as the next hop: faster, for nodes that are all on one network segment.
    HostGw,
}

impl Backend {
    /// As Flannel calls it.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Vxlan => "vxlan",
            Backend::HostGw => "host-gw",
        }
    }

    /// What runs on a node; none when Flannel does not, or when it is not known.
    pub fn running(facts: &Facts) -> Option<Self> {
        let is = |probe: &str| facts.probe(probe).is_some_and(|probe| probe.status == 0);
        match (is("subnet"), is("vxlan")) {
            (false, _) => None,
            (true, true) => Some(Backend::Vxlan),
            (true, false) => Some(Backend::HostGw),
        }
    }
}

/// Flannel's configuration file.
pub fn net_conf(stage: &crate::Flannel, pod_cidr: &str) -> serde_json::Value {
    let backend = match stage.backend {
        // The kernel's own default port is another one: other implementations of VXLAN use it (T49).
        Backend::Vxlan => {
            json!({ "Type": "vxlan", "Port": stage.port, "DirectRouting": stage.direct_routing })
        }
        Backend::HostGw => json!({ "Type": "host-gw" }),
    };
    let mut conf = json!({ "Network": pod_cidr, "EnableNFTables": stage.nftables, "Backend": backend });
    if stage.mtu > 0 && stage.backend == Backend::Vxlan {
        conf["Backend"]["MTU"] = stage.mtu.into();
    }
    conf
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Flannel;

    /// T49.
    #[test]
    fn each_backend_has_its_own_settings() {
        let vxlan = Flannel { mtu: 8950, direct_routing: true, ..Flannel::default() };
        assert_eq!(
            net_conf(&vxlan, "10.244.0.0/16"),
            json!({
                "Network": "10.244.0.0/16", "EnableNFTables": false,
                "Backend": { "Type": "vxlan", "Port": 8472, "DirectRouting": true, "MTU": 8950 },
            })
        );
        let host_gw = Flannel { backend: Backend::HostGw, nftables: true, ..Flannel::default() };
        assert_eq!(
            net_conf(&host_gw, "10.244.0.0/16"),
            json!({ "Network": "10.244.0.0/16", "EnableNFTables": true, "Backend": { "Type": "host-gw" } })
        );
    }
}
