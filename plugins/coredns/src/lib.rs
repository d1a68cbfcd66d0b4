//! Cluster DNS by CoreDNS, at the tenth address of the Services: where kubeadm tells every kubelet to look.

mod address;

use ksp_sdk::prelude::*;

/// Config of `ksp/coredns`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct CoreDns {
    /// Version of CoreDNS.
    pub version: String,
    /// Where the image comes from.
    pub image_repository: String,
    /// How many of them.
    pub replicas: u32,
    /// Where names outside the cluster are asked for: addresses, or a file with `nameserver` lines.
    pub upstream: Vec<String>,
    /// Seconds that answers of the upstream are kept.
    pub cache_seconds: u32,
}

impl Default for CoreDns {
    fn default() -> Self {
        Self {
            version: "1.14.2".into(),
            image_repository: "registry.k8s.io/coredns".into(),
            replicas: 2,
            upstream: vec!["/etc/resolv.conf".into()],
            cache_seconds: 30,
        }
    }
}

impl Stage for CoreDns {
    fn validate(&self, _cx: &Context) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.replicas == 0 {
            findings.push(
                Finding::error("/replicas", "a cluster without DNS does not work")
                    .hint("2 survive the loss of a node"),
            );
        }
        if self.upstream.is_empty() {
            findings
                .push(Finding::error("/upstream", "names outside the cluster have nowhere to be asked for"));
        }
        findings
    }

    fn plan(&self, cx: &Context) -> Result<()> {
        let nodes = cx.nodes("*")?.filter(|node| node.is(Role::ControlPlane) || node.is(Role::Worker));
        let spec = cx.spec()?;
        let image = format!("{}/coredns:v{}", self.image_repository, self.version);
        let address = address::tenth(&spec.service_cidr).ok_or_else(|| {
            Error::invalid("coredns.service-cidr", format!("`{}` has no tenth address", spec.service_cidr))
        })?;
        // Where workers are enough, each replica has a node of its own and control planes are left alone. Otherwise both replicas
        // would settle on the first node that is there, and stay together.
        let workers = nodes.iter().filter(|node| node.is(Role::Worker)).count();
        let spread = workers > 1 && workers >= self.replicas as usize;
        let manifest = cx.render_asset(
            "coredns.yaml",
            &json!({
                "image": image,
                "replicas": self.replicas,
                "spread": spread,
                "upstream": self.upstream.join(" "),
                "cache_seconds": self.cache_seconds,
                "address": address,
                "dns_domain": spec.dns_domain,
            }),
        )?;

        let plan = cx.plan();
        let image = plan.image(&nodes, &image).prepare();
        let applied = plan.kube_apply("coredns", &manifest).after(&image);
        plan.kube_wait("deployment/coredns", "kube-system", "rollout", Duration::from_secs(300))
            .on_change(&applied);
        cx.publish("address", address)
    }
}

ksp_sdk::register!(CoreDns);
