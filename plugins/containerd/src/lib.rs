//! containerd with runc, crictl, nerdctl and the CNI plugins, from upstream releases.

mod config;
mod registries;
mod unit;

use std::collections::BTreeMap;

use ksp_sdk::prelude::*;
use ksp_sdk::runtime::{CONTAINERD, Proxy};
use ksp_sdk::runtime_switch;

/// Config of `ksp/containerd`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Containerd {
    /// Version of containerd.
    pub version: String,
    /// Version of runc.
    pub runc: String,
    /// Version of crictl.
    pub crictl: String,
    /// Version of nerdctl; empty leaves it out.
    pub nerdctl: String,
    /// Version of the CNI plugins.
    pub cni_plugins: String,
    /// How image layers are kept.
    pub snapshotter: String,
    /// The image that holds a pod's namespaces; kept from garbage collection.
    pub sandbox_image: String,
    /// Open files that containerd, and so every container, may have.
    pub open_files: u32,
    /// Proxy for pulling images.
    pub proxy: Proxy,
    /// Seconds that the pods of a node may take to leave it when it is switched from another runtime.
    pub drain_timeout: u32,
    /// Anything else of containerd's configuration file, laid over what this plugin writes.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub settings: serde_json::Map<String, serde_json::Value>,
}

impl Default for Containerd {
    fn default() -> Self {
        Self {
            version: "2.3.4".into(),
            runc: "1.4.3".into(),
            crictl: "1.36.0".into(),
            nerdctl: "2.3.0".into(),
            cni_plugins: "1.9.1".into(),
            snapshotter: "overlayfs".into(),
            sandbox_image: "registry.k8s.io/pause:3.10.2".into(),
            open_files: 1_048_576,
            proxy: Proxy::default(),
            drain_timeout: 300,
            settings: serde_json::Map::new(),
        }
    }
}

const SOCKET: &str = CONTAINERD.socket;

impl Stage for Containerd {
    fn validate(&self, cx: &Context) -> Vec<Finding> {
        let mut findings = Vec::new();
        if config::format_of(&self.version).is_none() {
            let message = format!("`{}` is not a version of containerd that is supported", self.version);
            findings.push(Finding::error("/version", message).hint("1.7 and newer, such as \"2.3.4\""));
        } else {
            findings.extend(cx.unknown_release("containerd", &self.version, "/version"));
        }
        for (name, version) in [
            ("runc", &self.runc),
            ("cni-plugins", &self.cni_plugins),
            ("crictl", &self.crictl),
            ("nerdctl", &self.nerdctl),
        ] {
            // Without a version it is not installed.
            if name != "nerdctl" || !version.is_empty() {
                findings.extend(cx.unknown_release(name, version, &format!("/{name}")));
            }
        }
        findings
    }

    fn plan(&self, cx: &Context) -> Result<()> {
        let nodes = cx.nodes("*")?.filter(|node| node.is(Role::ControlPlane) || node.is(Role::Worker));
        let plan = cx.plan();
        let switch = runtime_switch::survey(cx, &nodes, CONTAINERD);

        let members = ["bin/containerd", "bin/containerd-shim-runc-v2", "bin/ctr"];
        let binaries =
            plan.unpack(&nodes, "/usr/local", &cx.release("containerd", &self.version)?, 0, &members);
        plan.install(&nodes, "/usr/local/sbin/runc", &cx.release("runc", &self.runc)?).mode(0o755);
        plan.unpack(&nodes, "/usr/local/bin", &cx.release("crictl", &self.crictl)?, 0, &["crictl"]);

        // Read by containerd at each pull: no restart.
        for (registry, mirror) in &cx.spec()?.mirrors.images {
            plan.file(&nodes, registries::path(registry), registries::hosts_toml(registry, mirror));
        }
        plan.file(
            &nodes,
            "/etc/crictl.yaml",
            format!("runtime-endpoint: {SOCKET}\nimage-endpoint: {SOCKET}\ntimeout: 10\n"),
        );
        let config = plan.file(&nodes, "/etc/containerd/config.toml", config::render(self)?);
        let unit =
            plan.file(&nodes, "/etc/systemd/system/containerd.service", unit::containerd(self.open_files));
        let proxy = self.proxy.drop_in().map(|text| {
            plan.file(&nodes, "/etc/systemd/system/containerd.service.d/http-proxy.conf", text).mode(0o600)
        });

        // Containers outlive a restart: their shims are not children of the daemon. Where another runtime still serves, nobody is interrupted.
        let watched: Vec<&Op> = [&binaries, &config, &unit].into_iter().chain(&proxy).collect();
        switch.restart(cx, &nodes, &watched);
        // Images are pulled while the rest of this stage goes on.
        plan.service(&nodes, "containerd.service").provides("runtime");

        // containerd and the network's pods would make these themselves, and nobody would take them away with them.
        for folder in
            ["/opt/containerd", "/opt/containerd/bin", "/opt/containerd/lib", "/etc/cni", "/etc/cni/net.d"]
        {
            plan.directory(&nodes, folder);
        }
        plan.unpack(&nodes, "/opt/cni/bin", &cx.release("cni-plugins", &self.cni_plugins)?, 0, &[]);
        if !self.nerdctl.is_empty() {
            plan.unpack(&nodes, "/usr/local/bin", &cx.release("nerdctl", &self.nerdctl)?, 0, &["nerdctl"]);
        }
        plan.image(&nodes, &self.sandbox_image);
        switch.record(cx, Duration::from_secs(self.drain_timeout.into()))?;

        cx.publish("cri-socket", SOCKET)
    }
}

ksp_sdk::register!(Containerd);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_is_none_is_refused() {
        assert_eq!(config::format_of("latest"), None);
        assert_eq!(config::format_of("1.6.0"), None);
    }
}
