//! Builds and packs the misbehaving guest of `tests/guests/unruly`, once for all tests of the process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::plugin::package::assemble;
use crate::runtime::harness::Bench;

const FACTS: &str = r#"{ "*": { "arch": "amd64" } }"#;

/// The packed plugin.
pub fn packed() -> &'static [u8] {
    static PACKED: OnceLock<Vec<u8>> = OnceLock::new();
    PACKED.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let folder = root.join("tests/guests/unruly");
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        let component = std::fs::read(build(root)).unwrap();
        assemble::assemble(&component, &read("plugin.toml"), &read("config.schema.json"), &[]).unwrap()
    })
}

/// In the folder of the embedded plugins, where everything it needs is built already.
fn build(root: &Path) -> PathBuf {
    let target = Path::new(env!("OUT_DIR")).ancestors().nth(4).unwrap().join("plugins");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root).args(["build", "--quiet", "--target", "wasm32-wasip2", "--profile", "plugin"]);
    cargo.args(["--package", "unruly", "--target-dir"]).arg(&target);
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "CARGO_TARGET_DIR"] {
        cargo.env_remove(name);
    }
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join("wasm32-wasip2/plugin/unruly.wasm")
}

/// A manifest with the guest, told what to do, and everything that it asks for granted.
pub fn bench(what: &str) -> (Bench, tempfile::TempDir) {
    bench_with(packed(), what)
}

/// As [`bench`] with another file in its place.
pub fn bench_with(plugin: &[u8], what: &str) -> (Bench, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("unruly.wasm"), plugin).unwrap();
    let reference = folder.path().join("unruly.wasm");
    let manifest = format!(
        r#"
        [cluster]
        name = "test"
        kubernetes = "1.36.3"
        endpoint = "10.0.0.1:6443"
        [[node]]
        name = "n1"
        address = "10.0.0.1"
        roles = ["control-plane"]
        [[stage]]
        use = {reference:?}
        name = "unruly"
        grants = ["exec", "files:/etc/allowed/**", "files:/tmp/**", "secrets:token", "artifacts", "pki:unruly", "services"]
        config = {{ do = {what:?} }}
        "#
    );
    (Bench::new(&manifest, FACTS), folder)
}
