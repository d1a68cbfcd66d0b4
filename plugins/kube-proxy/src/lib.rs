//! Services on every node by kube-proxy. It reaches the API by its endpoint: it is what makes the Service address work.

use std::collections::BTreeMap;

use ksp_sdk::leftovers::Leftovers;
use ksp_sdk::prelude::*;
use serde_json::{Map, Value};

/// Config of `ksp/kube-proxy`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct KubeProxy {
    /// How packets find their pod.
    pub mode: Mode,
    /// Where the image comes from.
    pub image_repository: String,
    /// Other keys of the `KubeProxyConfiguration`.
    #[schemars(with = "BTreeMap<String, Value>")]
    pub settings: Map<String, Value>,
}

/// How packets find their pod. IPVS is deprecated upstream and not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Works on every kernel.
    Iptables,
    /// Faster with many Services; needs Linux 5.13.
    Nftables,
}

impl Default for KubeProxy {
    fn default() -> Self {
        Self { mode: Mode::Iptables, image_repository: "registry.k8s.io".into(), settings: Map::new() }
    }
}

impl KubeProxy {
    fn configuration(&self, spec: &Spec) -> Value {
        let mut configuration = json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": self.mode,
            "clusterCIDR": spec.pod_cidr,
            "clientConnection": { "kubeconfig": "/var/lib/kube-proxy/kubeconfig.conf" },
        });
        for (key, value) in &self.settings {
            configuration[key] = value.clone();
        }
        configuration
    }
}

fn kubeconfig(spec: &Spec) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "default",
        "clusters": [{
            "name": "default",
            "cluster": {
                "certificate-authority": "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
                "server": format!("https://{}", spec.endpoint),
            },
        }],
        "users": [{
            "name": "default",
            "user": { "tokenFile": "/var/run/secrets/kubernetes.io/serviceaccount/token" },
        }],
        "contexts": [{ "name": "default", "context": { "cluster": "default", "user": "default" } }],
    })
}

impl Stage for KubeProxy {
    fn validate(&self, _cx: &Context) -> Vec<Finding> {
        if self.settings.contains_key("mode") {
            return vec![
                Finding::error("/settings/mode", "the mode has a key of its own")
                    .hint("set `mode` beside `settings`"),
            ];
        }
        Vec::new()
    }

    fn plan(&self, cx: &Context) -> Result<()> {
        let nodes = cx.nodes("*")?.filter(|node| node.is(Role::ControlPlane) || node.is(Role::Worker));
        let spec = cx.spec()?;
        let image = format!("{}/kube-proxy:v{}", self.image_repository, spec.kubernetes);
        let configuration = format!("{:#}\n", self.configuration(&spec));
        let manifest = cx.render_asset(
            "kube-proxy.yaml",
            &json!({
                "image": image,
                "configuration": configuration,
                "kubeconfig": format!("{:#}\n", kubeconfig(&spec)),
                // Pods read the ConfigMap when they start: new content, new pods.
                "configuration_digest": cx.blob(&configuration).digest(),
            }),
        )?;

        let plan = cx.plan();
        let image = plan.image(&nodes, &image).prepare();
        let applied = plan.kube_apply("kube-proxy", &manifest).after(&image);
        plan.kube_wait("daemonset/kube-proxy", "kube-system", "rollout", Duration::from_secs(300))
            .on_change(&applied);
        Ok(())
    }
}

impl Teardown for KubeProxy {
    /// The kubelet, which has chains of the same prefix, has ended by now.
    fn teardown(&self, cx: &Context, nodes: &Nodes) -> Result<()> {
        let tables = &["ip kube-proxy", "ip6 kube-proxy"];
        Leftovers { chains: &["KUBE-"], tables, ..Leftovers::default() }.remove(&cx.plan(), nodes);
        Ok(())
    }
}

ksp_sdk::register!(KubeProxy, teardown);

#[cfg(test)]
mod tests {
    use super::*;

    /// What it leaves on nodes is in the way of every other mode.
    #[test]
    fn ipvs_is_not_offered_t54() {
        let stage = serde_json::from_value::<KubeProxy>(json!({ "mode": "ipvs" }));
        assert!(stage.unwrap_err().to_string().contains("unknown variant `ipvs`"));
    }

    #[test]
    fn settings_win_and_the_mode_is_always_written() {
        let spec: Spec = serde_json::from_value(json!({
            "name": "c", "kubernetes": "1.36.3", "endpoint": "api:6443", "pod-cidr": "10.244.0.0/16",
            "service-cidr": "10.96.0.0/16", "dns-domain": "cluster.local",
        }))
        .unwrap();
        let settings = json!({ "conntrack": { "maxPerCore": 0 }, "clusterCIDR": "10.0.0.0/8" });
        let stage = KubeProxy { settings: settings.as_object().unwrap().clone(), ..KubeProxy::default() };
        let configuration = stage.configuration(&spec);
        assert_eq!(configuration["mode"], "iptables");
        assert_eq!(configuration["clusterCIDR"], "10.0.0.0/8");
        assert_eq!(configuration["conntrack"]["maxPerCore"], 0);
    }
}
