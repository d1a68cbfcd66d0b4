//! A virtual address that one of the control planes holds, by kube-vip: a static pod that announces it by ARP.

use ksp_sdk::kubeadm::API_PORT;
use ksp_sdk::prelude::*;

const MANIFEST: &str = "/etc/kubernetes/manifests/kube-vip.yaml";

/// Config of mode `kube-vip`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct KubeVip {
    /// The image.
    pub image: String,
    /// Network interface that gets the address; empty lets kube-vip take the one of the default route.
    pub interface: String,
}

impl Default for KubeVip {
    fn default() -> Self {
        Self { image: "ghcr.io/kube-vip/kube-vip:v1.0.3".into(), interface: String::new() }
    }
}

impl KubeVip {
    pub fn plan(&self, cx: &Context, control_planes: &Nodes) -> Result<()> {
        let spec = cx.spec()?;
        // The one that `kubeadm init` will run on: none of them is a control plane yet.
        let complete = |facts: &Facts| facts.probe("control-plane").is_some_and(|probe| probe.status == 0);
        let exists = control_planes.with_facts().any(|(_, facts)| complete(&facts));
        let first = control_planes.first().filter(|_| !exists).map(|node| node.id);
        for node in control_planes {
            let pod = self.pod(&spec, first == Some(node.id));
            cx.plan().file(node, MANIFEST, ksp_sdk::render_json(&pod)?).mode(0o600);
        }
        Ok(())
    }

    /// Before `kubeadm init` has ended, its own kubeconfig may do nothing: from 1.29 on, only super-admin.conf can.
    fn pod(&self, spec: &Spec, initialises: bool) -> serde_json::Value {
        let kubeconfig = if initialises { "super-admin.conf" } else { "admin.conf" };
        let variables = [
            ("vip_arp", "true"),
            ("address", spec.endpoint_host()),
            ("port", &API_PORT.to_string()),
            ("vip_interface", self.interface.as_str()),
            ("cp_enable", "true"),
            ("cp_namespace", "kube-system"),
            ("svc_enable", "false"),
            ("vip_leaderelection", "true"),
            ("vip_leasename", "plndr-cp-lock"),
            ("vip_leaseduration", "5"),
            ("vip_renewdeadline", "3"),
            ("vip_retryperiod", "1"),
        ];
        let env: Vec<_> = variables
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| json!({ "name": name, "value": value }))
            .collect();
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": "kube-vip", "namespace": "kube-system" },
            "spec": {
                "hostNetwork": true,
                "priorityClassName": "system-node-critical",
                // It asks the API server of its own node.
                "hostAliases": [{ "ip": "127.0.0.1", "hostnames": ["kubernetes"] }],
                "containers": [{
                    "name": "kube-vip",
                    "image": self.image,
                    "args": ["manager"],
                    "env": env,
                    "securityContext": { "capabilities": { "drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"] } },
                    "volumeMounts": [{ "name": "kubeconfig", "mountPath": "/etc/kubernetes/admin.conf", "readOnly": true }],
                }],
                "volumes": [{
                    "name": "kubeconfig",
                    "hostPath": { "path": format!("/etc/kubernetes/{kubeconfig}"), "type": "File" },
                }],
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_that_initialises_has_the_rights_above_all() {
        let spec: Spec = serde_json::from_value(json!({
            "name": "c", "kubernetes": "1.36.3", "endpoint": "10.0.0.9:6443", "pod-cidr": "", "service-cidr": "",
            "dns-domain": "cluster.local",
        }))
        .unwrap();
        let path = |initialises| {
            KubeVip::default().pod(&spec, initialises)["spec"]["volumes"][0]["hostPath"]["path"].clone()
        };
        assert_eq!(path(true), "/etc/kubernetes/super-admin.conf");
        assert_eq!(path(false), "/etc/kubernetes/admin.conf");
        // The stage that makes control planes replaces the path when the rights are gone (T25): the next plan finds nothing to do.
        let pod = |initialises| KubeVip::default().pod(&spec, initialises).to_string();
        assert_eq!(pod(true).replace("/super-admin.conf", "/admin.conf"), pod(false));
    }
}
