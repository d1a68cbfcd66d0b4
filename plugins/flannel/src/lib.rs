//! The pod network by Flannel: VXLAN between nodes, addresses as the controller manager hands them out.

use ksp_sdk::prelude::*;

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
    /// UDP port of VXLAN.
    pub port: u16,
    /// Network interface between nodes; empty lets Flannel take the one of the default route.
    pub interface: String,
}

impl Default for Flannel {
    fn default() -> Self {
        Self {
            version: "0.28.4".into(),
            cni_plugin: "v1.7.1-flannel1".into(),
            image_repository: "docker.io/flannel".into(),
            port: 8472,
            interface: String::new(),
        }
    }
}

impl Stage for Flannel {
    fn plan(&self, cx: &Context) -> Result<()> {
        let nodes = cx.nodes("*")?.filter(|node| node.is(Role::ControlPlane) || node.is(Role::Worker));
        let spec = cx.spec()?;
        let image = format!("{}/flannel:v{}", self.image_repository, self.version);
        let cni_image = format!("{}/flannel-cni-plugin:{}", self.image_repository, self.cni_plugin);
        let network = json!({ "Network": spec.pod_cidr, "Backend": { "Type": "vxlan", "Port": self.port } });
        let manifest = cx.render_asset(
            "flannel.yaml",
            &json!({
                "image": image,
                "cni_image": cni_image,
                "network": network.to_string(),
                "interface": self.interface,
                "api_host": spec.endpoint_host(),
                "api_port": spec.endpoint_port(),
            }),
        )?;

        let plan = cx.plan();
        plan.image(&nodes, &image).prepare();
        plan.image(&nodes, &cni_image).prepare();
        let applied = plan.kube_apply("flannel", &manifest);
        plan.kube_wait("daemonset/kube-flannel-ds", "kube-flannel", "rollout", Duration::from_secs(300))
            .on_change(&applied);
        Ok(())
    }
}

impl Teardown for Flannel {
    fn teardown(&self, cx: &Context, nodes: &Nodes) -> Result<()> {
        // What the pods of the DaemonSet have put on the nodes.
        for path in ["/etc/cni/net.d/10-flannel.conflist", "/opt/cni/bin/flannel", "/run/flannel/subnet.env"]
        {
            cx.plan().absent(nodes, path);
        }
        for interface in ["cni0", "flannel.1"] {
            let gone = argv!["test", "!", "-e", format!("/sys/class/net/{interface}")];
            cx.plan().exec(nodes, ["ip", "link", "delete", interface]).unless(gone);
        }
        Ok(())
    }
}

ksp_sdk::register!(Flannel, teardown);
