//! containerd's configuration file. Each minor release knows one format best: 2 for 1.7, 3 for 2.0 to 2.2, 4 from 2.3 on
//! (`containerd config default` is the truth). Tables of another format are ignored without a word, so the names matter.

use ksp_sdk::prelude::*;
use serde_json::{Map, Value, json};

use crate::Containerd;

/// The format for a version of containerd; none when it is not supported.
pub fn format_of(version: &str) -> Option<u32> {
    let mut parts = version.split('.').map(|part| part.split('-').next().unwrap_or_default().parse::<u32>());
    match (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.is_ok()) {
        (1, 7, true) => Some(2),
        (2, 0..=2, true) => Some(3),
        (2, 3.., true) => Some(4),
        _ => None,
    }
}

/// The file.
pub fn render(stage: &Containerd) -> Result<String> {
    let format = format_of(&stage.version).unwrap_or(4);
    let mut config = if format == 2 { one_plugin(stage) } else { two_plugins(stage, format) };
    merge(&mut config, &stage.settings);
    ksp_sdk::render_toml(&Value::Object(config))
}

fn runc() -> Value {
    json!({ "runtime_type": "io.containerd.runc.v2", "options": { "SystemdCgroup": true } })
}

fn one_plugin(stage: &Containerd) -> Map<String, Value> {
    object(json!({
        "version": 2,
        "plugins": { "io.containerd.grpc.v1.cri": {
            "sandbox_image": stage.sandbox_image,
            "containerd": {
                "snapshotter": stage.snapshotter,
                "default_runtime_name": "runc",
                "runtimes": { "runc": runc() },
            },
            "registry": { "config_path": "/etc/containerd/certs.d" },
        } },
    }))
}

fn two_plugins(stage: &Containerd, format: u32) -> Map<String, Value> {
    object(json!({
        "version": format,
        "plugins": {
            "io.containerd.cri.v1.images": {
                "snapshotter": stage.snapshotter,
                "pinned_images": { "sandbox": stage.sandbox_image },
                "registry": { "config_path": "/etc/containerd/certs.d" },
            },
            "io.containerd.cri.v1.runtime": {
                "containerd": { "default_runtime_name": "runc", "runtimes": { "runc": runc() } },
            },
        },
    }))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
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

    /// T43.
    #[test]
    fn each_minor_release_has_its_format() {
        let formats = ["1.7.24", "2.0.5", "2.2.1", "2.3.4", "2.10.0", "3.0.0"].map(format_of);
        assert_eq!(formats, [Some(2), Some(3), Some(3), Some(4), Some(4), None]);
    }

    #[test]
    fn settings_are_laid_over() {
        let mut stage = Containerd::default();
        let settings =
            json!({ "plugins": { "io.containerd.cri.v1.runtime": { "restrict_oom_score_adj": true } } });
        stage.settings = object(settings);
        let text = render(&stage).unwrap();
        assert!(text.starts_with("version = 4\n"), "{text}");
        assert!(text.contains("restrict_oom_score_adj = true"), "{text}");
        assert!(text.contains("SystemdCgroup = true"), "{text}");
    }

    /// T44.
    #[test]
    fn the_sandbox_image_is_never_collected() {
        let text = render(&Containerd::default()).unwrap();
        let pinned = "images\".pinned_images]\nsandbox = \"registry.k8s.io/pause:3.10.2\"";
        assert!(text.contains(pinned), "{text}");
    }

    #[test]
    fn the_old_format_has_one_table() {
        let stage = Containerd { version: "1.7.24".into(), ..Containerd::default() };
        let text = render(&stage).unwrap();
        assert!(text.contains("io.containerd.grpc.v1.cri"), "{text}");
        assert!(!text.contains("cri.v1.runtime"), "{text}");
    }
}
