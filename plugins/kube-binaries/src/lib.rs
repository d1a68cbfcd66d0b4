//! kubeadm, kubelet and kubectl of the cluster's Kubernetes version, and the kubelet's unit in kubeadm's layout.

use ksp_sdk::prelude::*;

/// Config of `ksp/kube-binaries`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct KubeBinaries {
    /// Open files that the kubelet may have; 0 leaves it to systemd.
    pub open_files: u32,
}

/// kubeadm writes `KUBELET_KUBEADM_ARGS` into the first file; the second is for operators.
const DROP_IN: &str = "[Service]
Environment=\"KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf\"
Environment=\"KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml\"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/default/kubelet
ExecStart=
ExecStart=/usr/local/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
";

impl KubeBinaries {
    fn unit(&self) -> String {
        let limit =
            if self.open_files == 0 { String::new() } else { format!("LimitNOFILE={}\n", self.open_files) };
        format!(
            "[Unit]
Description=kubelet: the Kubernetes node agent
Documentation=https://kubernetes.io/docs/
Wants=network-online.target
After=network-online.target

[Service]
ExecStart=/usr/local/bin/kubelet
Restart=always
StartLimitInterval=0
RestartSec=2
{limit}
[Install]
WantedBy=multi-user.target
"
        )
    }
}

impl Stage for KubeBinaries {
    fn validate(&self, cx: &Context) -> Vec<Finding> {
        let version = match cx.spec() {
            Ok(spec) => spec.kubernetes.to_string(),
            Err(error) => return vec![Finding::error("", error.message())],
        };
        let unknown =
            ["kubelet", "kubeadm", "kubectl"].iter().find_map(|name| cx.unknown_release(name, &version, ""));
        unknown
            .map(|finding| finding.hint("choose one of these as the cluster's `kubernetes`"))
            .into_iter()
            .collect()
    }

    fn plan(&self, cx: &Context) -> Result<()> {
        let nodes = cx.nodes("*")?.filter(|node| node.is(Role::ControlPlane) || node.is(Role::Worker));
        let version = cx.spec()?.kubernetes.to_string();
        let plan = cx.plan();

        let kubelet =
            plan.install(&nodes, "/usr/local/bin/kubelet", &cx.release("kubelet", &version)?).mode(0o755);
        plan.install(&nodes, "/usr/local/bin/kubeadm", &cx.release("kubeadm", &version)?).mode(0o755);
        plan.install(&nodes, "/usr/local/bin/kubectl", &cx.release("kubectl", &version)?).mode(0o755);
        let unit = plan.file(&nodes, "/etc/systemd/system/kubelet.service", self.unit());
        let drop_in = plan.file(&nodes, "/etc/systemd/system/kubelet.service.d/10-kubeadm.conf", DROP_IN);

        // Before a node has joined there is nothing to run: kubeadm starts the kubelet.
        for (node, facts) in nodes.with_facts() {
            if facts.probe("joined").is_some_and(|probe| probe.status == 0) {
                plan.restart(node, "kubelet.service")
                    .on_change(&kubelet)
                    .on_change(&unit)
                    .on_change(&drop_in)
                    .disruptive("the kubelet is restarted; pods keep running");
            }
        }
        plan.service_enabled(&nodes, "kubelet.service");
        Ok(())
    }
}

ksp_sdk::register!(KubeBinaries);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_written_only_when_asked_for() {
        assert!(!KubeBinaries::default().unit().contains("LimitNOFILE"));
        assert!(KubeBinaries { open_files: 20_000 }.unit().contains("\nLimitNOFILE=20000\n"));
    }
}
