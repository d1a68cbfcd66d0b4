//! The pod network by Flannel: VXLAN or plain routes between nodes, addresses as the controller manager hands them out.

mod backend;

use backend::Backend;
use ksp_sdk::leftovers::Leftovers;
use ksp_sdk::prelude::*;

/// What every IPv6 link carries, and more than anything smaller is good for.
const SMALLEST_MTU: u32 = 1280;

/// Config of `ksp/flannel`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Flannel {
    /// Version of Flannel.
    pub version: String,
    /// Tag of the image that carries the CNI plugin.
    pub cni_plugin: String,
    /// Where the images come from.
    pub image_repository: String,
    /// How packets go from node to node.
    pub backend: Backend,
    /// UDP port of VXLAN.
    pub port: u16,
    /// With VXLAN: plain routes to nodes on the same network segment.
    pub direct_routing: bool,
    /// Bytes of a packet between pods; 0 computes it from the interface. For VXLAN: at most 50 less than what the path carries.
    #[schemars(range(max = 65_535))]
    pub mtu: u32,
    /// Rules by nftables instead of iptables.
    pub nftables: bool,
    /// Network interface between nodes, the same name on all; empty takes the one with the node's address.
    pub interface: String,
}

impl Default for Flannel {
    fn default() -> Self {
        Self {
            version: "0.28.4".into(),
            cni_plugin: "v1.7.1-flannel1".into(),
            image_repository: "docker.io/flannel".into(),
            backend: Backend::default(),
            port: 8472,
            direct_routing: false,
            mtu: 0,
            nftables: false,
            interface: String::new(),
        }
    }
}

impl Flannel {
    /// Nodes that have begun with another back end would not reach those that go on with the new one.
    fn stays_what_it_is(&self, cx: &Context, nodes: &Nodes) {
        for (node, facts) in nodes.with_facts() {
            let Some(running) = Backend::running(&facts).filter(|running| *running != self.backend) else {
                continue;
            };
            let message = format!(
                "pods are connected by `{}`, the manifest says `{}`: nodes with different back ends do not reach each other",
                running.name(),
                self.backend.name()
            );
            let hint = format!(
                "write `backend = \"{}\"`; another one needs a new cluster, or this one reset",
                running.name()
            );
            cx.plan().finding(Some(node), Severity::Error, "flannel.backend", message, Some(&hint));
        }
    }
}

impl Stage for Flannel {
    fn validate(&self, _cx: &Context) -> Vec<Finding> {
        let mut findings = Vec::new();
        let of_vxlan = [("direct-routing", self.direct_routing), ("mtu", self.mtu > 0)];
        for (key, _) in of_vxlan.iter().filter(|(_, set)| *set && self.backend == Backend::HostGw) {
            findings.push(
                Finding::error(
                    format!("/{key}"),
                    format!("`{key}` is a setting of VXLAN, the back end is `host-gw`"),
                )
                .hint("leave it out, or write `backend = \"vxlan\"`"),
            );
        }
        if self.mtu > 0 && self.mtu < SMALLEST_MTU {
            findings.push(
                Finding::error("/mtu", format!("{} bytes are too few for a packet", self.mtu))
                    .hint("0 computes it; 1450 is right where the path carries 1500"),
            );
        }
        findings
    }

    fn plan(&self, cx: &Context) -> Result<()> {
        let nodes = cx.nodes("*")?.filter(|node| node.is(Role::ControlPlane) || node.is(Role::Worker));
        let spec = cx.spec()?;
        let image = format!("{}/flannel:v{}", self.image_repository, self.version);
        let cni_image = format!("{}/flannel-cni-plugin:{}", self.image_repository, self.cni_plugin);
        self.stays_what_it_is(cx, &nodes);
        let network = backend::net_conf(self, &spec.pod_cidr).to_string();
        let manifest = cx.render_asset(
            "flannel.yaml",
            &json!({
                "image": image,
                "cni_image": cni_image,
                "network": network,
                // The agent has read it when it started: another one is another pod.
                "configuration_digest": cx.blob(&network).digest(),
                // Decided once, by the node's address in the manifest, for the kubelet and for this (T38).
                "interface": if self.interface.is_empty() { "$(NODE_ADDRESS)" } else { &self.interface },
                "api_host": spec.endpoint_host(),
                "api_port": spec.endpoint_port(),
            }),
        )?;

        let plan = cx.plan();
        let images = [&image, &cni_image].map(|image| plan.image(&nodes, image).prepare());
        let applied = plan.kube_apply("flannel", &manifest).after_all(&images);
        plan.kube_wait("daemonset/kube-flannel-ds", "kube-flannel", "rollout", Duration::from_secs(300))
            .on_change(&applied);
        Ok(())
    }
}

impl Teardown for Flannel {
    fn teardown(&self, cx: &Context, nodes: &Nodes) -> Result<()> {
        // What the pods of the DaemonSet have put on the nodes.
        for path in [
            "/etc/cni/net.d/10-flannel.conflist",
            "/opt/cni/bin/flannel",
            "/run/flannel",
            "/var/lib/cni/flannel",
            "/var/lib/cni/networks/cbr0",
        ] {
            cx.plan().absent(nodes, path);
        }
        Leftovers {
            interfaces: &["cni0", "flannel.1"],
            chains: &["FLANNEL-", "CNI-"],
            tables: &["ip flannel-ipv4", "ip6 flannel-ipv6"],
            ..Leftovers::default()
        }
        .remove(&cx.plan(), nodes);
        Ok(())
    }
}

ksp_sdk::register!(Flannel, teardown);
