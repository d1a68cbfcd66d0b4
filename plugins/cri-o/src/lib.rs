//! CRI-O with conmon, crun or runc, crictl and the CNI plugins, from upstream releases.

mod config;
mod registries;
mod releases;
mod unit;

use std::collections::BTreeMap;

use ksp_sdk::prelude::*;
use ksp_sdk::runtime::{CRI_O, Proxy};
use ksp_sdk::runtime_switch;

/// Config of `ksp/cri-o`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct CriO {
    /// Version of CRI-O, whose minor version must be that of Kubernetes; empty is the newest that goes with it.
    pub version: String,
    /// Version of the CNI plugins.
    pub cni_plugins: String,
    /// What starts containers.
    pub runtime: OciRuntime,
    /// The image that holds a pod's namespaces; kept from garbage collection.
    pub sandbox_image: String,
    /// Registries that are searched for an image whose name has none.
    pub search_registries: Vec<String>,
    /// Open files that CRI-O, and so every container, may have.
    pub open_files: u32,
    /// Proxy for pulling images.
    pub proxy: Proxy,
    /// Seconds that the pods of a node may take to leave it when it is switched from another runtime.
    pub drain_timeout: u32,
    /// Anything else of CRI-O's configuration file, laid over what this plugin writes.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub settings: serde_json::Map<String, serde_json::Value>,
}

/// What starts containers. CRI-O's release brings both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OciRuntime {
    /// CRI-O's own choice: small and fast.
    #[default]
    Crun,
    /// What containerd uses.
    Runc,
}

impl OciRuntime {
    /// The program's name, which is also that of the handler.
    fn program(self) -> &'static str {
        match self {
            Self::Crun => "crun",
            Self::Runc => "runc",
        }
    }
}

impl Default for CriO {
    fn default() -> Self {
        Self {
            version: String::new(),
            cni_plugins: "1.9.1".into(),
            runtime: OciRuntime::default(),
            sandbox_image: "registry.k8s.io/pause:3.10.2".into(),
            search_registries: vec!["docker.io".into()],
            open_files: 1_048_576,
            proxy: Proxy::default(),
            drain_timeout: 300,
            settings: serde_json::Map::new(),
        }
    }
}

const SOCKET: &str = CRI_O.socket;

/// Bridges that CRI-O's packages and releases bring: by its name each would be chosen before the cluster's network.
const BRIDGES: &[&str] = &[
    "100-crio-bridge.conf",
    "100-crio-bridge.conflist",
    "10-crio-bridge.conf",
    "10-crio-bridge.conflist",
    "11-crio-ipv4-bridge.conf",
    "11-crio-ipv4-bridge.conflist",
];

impl Stage for CriO {
    fn validate(&self, cx: &Context) -> Vec<Finding> {
        let spec = match cx.spec() {
            Ok(spec) => spec,
            Err(error) => return vec![Finding::error("", error.message())],
        };
        let mut findings = registries::check(&spec.mirrors.images);
        match releases::choose(&self.version, &spec.kubernetes) {
            Ok(version) => findings.extend(cx.unknown_release("cri-o", &version, "/version")),
            Err(finding) => findings.push(finding),
        }
        findings.extend(cx.unknown_release("cni-plugins", &self.cni_plugins, "/cni-plugins"));
        findings
    }

    fn plan(&self, cx: &Context) -> Result<()> {
        let spec = cx.spec()?;
        let nodes = cx.nodes("*")?.filter(|node| node.is(Role::ControlPlane) || node.is(Role::Worker));
        let plan = cx.plan();
        let version = releases::choose(&self.version, &spec.kubernetes)
            .map_err(|finding| Error::invalid("cri-o.version", finding.message()))?;
        let switch = runtime_switch::survey(cx, &nodes, CRI_O);

        let runtime = format!("cri-o/bin/{}", self.runtime.program());
        let members = ["cri-o/bin/conmon", "cri-o/bin/crictl", "cri-o/bin/crio", "cri-o/bin/pinns", &runtime];
        let binaries = plan.unpack(&nodes, "/usr/local", &cx.release("cri-o", &version)?, 1, &members);
        for bridge in BRIDGES {
            plan.absent(&nodes, format!("/etc/cni/net.d/{bridge}"));
        }

        // Read again by CRI-O when it changes: no restart.
        plan.file(&nodes, registries::PATH, registries::render(self, &spec.mirrors.images)?);
        plan.file(
            &nodes,
            "/etc/crictl.yaml",
            format!("runtime-endpoint: {SOCKET}\nimage-endpoint: {SOCKET}\ntimeout: 10\n"),
        );
        // CRI-O would make these itself, and nobody would take them away with it.
        plan.directory(&nodes, "/etc/crio");
        plan.directory(&nodes, "/etc/crio/auth").mode(0o700);
        plan.directory(&nodes, "/etc/crio/policies");
        plan.directory(&nodes, "/etc/cni");
        plan.directory(&nodes, "/etc/cni/net.d");
        // Read at each pull.
        plan.file(&nodes, config::POLICY_PATH, config::policy());
        let config = plan.file(&nodes, config::PATH, config::render(self)?);
        let unit = plan.file(&nodes, "/etc/systemd/system/crio.service", unit::crio(self.open_files));
        let proxy = self.proxy.drop_in().map(|text| {
            plan.file(&nodes, "/etc/systemd/system/crio.service.d/http-proxy.conf", text).mode(0o600)
        });

        // Containers outlive a restart: their monitors are in scopes of their own. Where another runtime still serves, nobody is interrupted.
        let watched: Vec<&Op> = [&binaries, &config, &unit].into_iter().chain(&proxy).collect();
        switch.restart(cx, &nodes, &watched);
        // Images are pulled while the rest of this stage goes on.
        plan.service(&nodes, "crio.service").provides("runtime");

        plan.unpack(&nodes, "/opt/cni/bin", &cx.release("cni-plugins", &self.cni_plugins)?, 0, &[]);
        plan.image(&nodes, &self.sandbox_image);
        switch.record(cx, Duration::from_secs(self.drain_timeout.into()))?;

        cx.publish("cri-socket", SOCKET)
    }
}

ksp_sdk::register!(CriO);
