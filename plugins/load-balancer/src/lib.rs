//! The API endpoint that every node and user has, served by whichever control plane is alive. One file a mode.

mod external;
mod haproxy;
mod keepalived;
mod kube_vip;

use std::net::IpAddr;

use ksp_sdk::prelude::*;

/// Config of `ksp/load-balancer`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct LoadBalancer {
    /// What makes the endpoint move.
    pub mode: Mode,
    /// Of mode `haproxy`.
    pub haproxy: haproxy::Haproxy,
    /// Of mode `keepalived`.
    pub keepalived: keepalived::Keepalived,
    /// Of mode `kube-vip`.
    pub kube_vip: kube_vip::KubeVip,
}

/// What makes the endpoint move.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// A balancer on loopback of every node.
    #[default]
    Haproxy,
    /// A virtual address that one of the control planes holds, by VRRP.
    Keepalived,
    /// Something outside of the cluster, which is only checked.
    External,
    /// A virtual address that one of the control planes holds, by kube-vip.
    KubeVip,
}

/// The endpoint's address; none when it is a name.
fn address(spec: &Spec) -> Option<IpAddr> {
    spec.endpoint_host().parse().ok()
}

/// True for an address or name that is another machine on each machine.
fn is_loopback(spec: &Spec) -> bool {
    address(spec).map_or(spec.endpoint_host().eq_ignore_ascii_case("localhost"), |it| it.is_loopback())
}

/// What is wrong with an endpoint that should be a virtual address of the control planes.
fn not_virtual(spec: &Spec, nodes: &Nodes) -> Option<Finding> {
    let endpoint = &spec.endpoint;
    let wrong = |message: String| {
        Finding::error("/mode", message).hint(
            "set `endpoint` of `[cluster]` to an unused address of the control planes' network, with port 6443",
        )
    };
    let Some(address) = address(spec) else {
        return Some(wrong(format!("the endpoint `{endpoint}` is no IP address, so no node can hold it")));
    };
    if address.is_loopback() {
        return Some(wrong(format!(
            "the endpoint `{endpoint}` is loopback, which cannot move between nodes"
        )));
    }
    if let Some(node) = nodes.iter().find(|node| node.address.parse() == Ok(address)) {
        return Some(wrong(format!("the endpoint `{endpoint}` is the address of node `{}`", node.name)));
    }
    (spec.endpoint_port() != ksp_sdk::kubeadm::API_PORT)
        .then(|| wrong(format!("the endpoint `{endpoint}` has a port on which no API server listens")))
}

impl LoadBalancer {
    fn findings(&self, spec: &Spec, nodes: &Nodes) -> Vec<Finding> {
        match self.mode {
            Mode::Haproxy => self.haproxy.findings(spec),
            Mode::Keepalived => self.keepalived.findings(spec, nodes),
            Mode::External => external::findings(spec),
            Mode::KubeVip => not_virtual(spec, nodes).into_iter().collect(),
        }
    }
}

impl Stage for LoadBalancer {
    fn validate(&self, cx: &Context) -> Vec<Finding> {
        match (cx.spec(), cx.nodes("*")) {
            (Ok(spec), Ok(nodes)) => self.findings(&spec, &nodes),
            (Err(error), _) | (_, Err(error)) => vec![Finding::error("", error.message())],
        }
    }

    fn plan(&self, cx: &Context) -> Result<()> {
        let control_planes = cx.nodes("role=control-plane")?;
        match self.mode {
            Mode::Haproxy => {
                let members =
                    cx.nodes("*")?.filter(|node| node.is(Role::ControlPlane) || node.is(Role::Worker));
                self.haproxy.plan(cx, &members, &control_planes)
            }
            Mode::Keepalived => self.keepalived.plan(cx, &control_planes),
            Mode::External => Ok(()),
            Mode::KubeVip => self.kube_vip.plan(cx, &control_planes),
        }
    }
}

ksp_sdk::register!(LoadBalancer);

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(endpoint: &str) -> Spec {
        serde_json::from_value(json!({
            "name": "c", "kubernetes": "1.36.3", "endpoint": endpoint, "pod-cidr": "10.244.0.0/16",
            "service-cidr": "10.96.0.0/16", "dns-domain": "cluster.local",
        }))
        .unwrap()
    }

    fn refused(mode: Mode, endpoint: &str) -> bool {
        let node = json!({ "name": "cp1", "address": "10.0.0.1", "roles": ["control-plane"] });
        let nodes = [Node::for_test(0, serde_json::from_value(node).unwrap())].into_iter().collect();
        !LoadBalancer { mode, ..LoadBalancer::default() }.findings(&spec(endpoint), &nodes).is_empty()
    }

    #[test]
    fn each_mode_has_its_kind_of_endpoint() {
        for (endpoint, haproxy, virtual_address, external) in [
            ("127.0.0.1:7443", true, false, false),
            ("127.0.0.1:6443", false, false, false),
            ("127.0.0.1:443", false, false, false),
            ("127.0.0.1:31000", false, false, false),
            ("[::1]:7443", true, false, false),
            ("localhost:7443", false, false, false),
            ("10.0.0.9:6443", false, true, true),
            ("10.0.0.9:7443", false, false, true),
            ("10.0.0.1:6443", false, false, true),
            ("api.example:6443", false, false, true),
        ] {
            assert_eq!(!refused(Mode::Haproxy, endpoint), haproxy, "haproxy {endpoint}");
            assert_eq!(!refused(Mode::Keepalived, endpoint), virtual_address, "keepalived {endpoint}");
            assert_eq!(!refused(Mode::KubeVip, endpoint), virtual_address, "kube-vip {endpoint}");
            assert_eq!(!refused(Mode::External, endpoint), external, "external {endpoint}");
        }
    }
}
