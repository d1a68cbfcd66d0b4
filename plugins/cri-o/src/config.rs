//! CRI-O's configuration: what differs from its own defaults, and the places where its tools are.

use ksp_sdk::prelude::*;
use serde_json::{Map, Value};

use crate::CriO;

/// CRI-O's main file: drop-ins of the operator beside it still count.
pub const PATH: &str = "/etc/crio/crio.conf";
/// Which images are trusted. CRI-O's own, so that the file that Podman shares stays the operator's.
pub const POLICY_PATH: &str = "/etc/crio/policy.json";

/// Any image of any registry, as every other runtime does it.
///
/// # Errors
/// Never, but for the host.
pub fn policy() -> Value {
    json!({ "default": [{ "type": "insecureAcceptAnything" }] })
}

/// The file.
///
/// # Errors
/// `settings` hold what TOML cannot say.
pub fn render(stage: &CriO) -> Result<String> {
    let runtime = stage.runtime.program();
    let mut config = json!({ "crio": {
        "root": "/var/lib/containers/storage",
        "runroot": "/run/containers/storage",
        "storage_driver": "overlay",
        "api": { "listen": crate::SOCKET.trim_start_matches("unix://") },
        "runtime": {
            "cgroup_manager": "systemd",
            "default_runtime": runtime,
            "pinns_path": "/usr/local/bin/pinns",
            "runtimes": { runtime: {
                "runtime_path": format!("/usr/local/bin/{runtime}"),
                "runtime_root": format!("/run/{runtime}"),
                "runtime_type": "oci",
                "monitor_path": "/usr/local/bin/conmon",
            } },
        },
        "image": {
            "pause_image": stage.sandbox_image,
            "signature_policy": POLICY_PATH,
            // Else a changed mirror would need a restart.
            "auto_reload_registries": true,
        },
        "network": { "network_dir": "/etc/cni/net.d/", "plugin_dirs": ["/opt/cni/bin/"] },
    } });
    if let Some(config) = config.as_object_mut() {
        merge(config, &stage.settings);
    }
    ksp_sdk::render_toml(&config)
}

fn merge(into: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (into.get_mut(key), value) {
            (Some(Value::Object(below)), Value::Object(above)) => merge(below, above),
            _ => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OciRuntime;

    #[test]
    fn settings_are_laid_over() {
        let mut stage = CriO { runtime: OciRuntime::Runc, ..CriO::default() };
        let settings =
            json!({ "crio": { "runtime": { "runtimes": { "runc": { "runtime_path": "/opt/runc" } } } } });
        stage.settings = settings.as_object().unwrap().clone();
        let text = render(&stage).unwrap();
        assert!(text.contains("runtime_path = \"/opt/runc\""), "{text}");
        assert!(text.contains("monitor_path = \"/usr/local/bin/conmon\""), "{text}");
        assert!(text.contains("default_runtime = \"runc\""), "{text}");
        assert!(!text.contains("crun"), "{text}");
    }
}
