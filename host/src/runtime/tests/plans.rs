//! Real plugins, real WebAssembly, canned facts.

use crate::runtime::harness::{self, Bench};

const MANIFEST: &str = r#"
[cluster]
name = "test"
kubernetes = "1.36.3"
endpoint = "10.0.0.1:6443"

[[node]]
name = "cp1"
address = "10.0.0.1"
roles = ["control-plane"]

[[node]]
name = "w1"
address = "10.0.0.2"
roles = ["worker"]

[[stage]]
use = "ksp/os-prepare"
[stage.config]
modules = ["ip_vs"]
sysctls = { "kernel.panic" = "5" }
"#;

const FACTS: &str = r#"{
  "cp1": { "arch": "amd64", "probe": { "network-manager": { "status": 0, "stdout": "" } } },
  "w1": { "arch": "arm64", "probe": { "network-manager": { "status": 1, "stdout": "" } } }
}"#;

#[test]
fn a_plan_shows_what_the_plugin_recorded() {
    insta::assert_snapshot!(harness::plan_text("os-prepare", MANIFEST, FACTS));
}

#[test]
fn planning_twice_gives_the_same() {
    assert_eq!(
        harness::plan_text("os-prepare", MANIFEST, FACTS),
        harness::plan_text("os-prepare", MANIFEST, FACTS)
    );
}

#[test]
fn a_node_without_facts_gets_what_needs_none() {
    let text = harness::plan_text("os-prepare", MANIFEST, r#"{ "w1": { "arch": "amd64" } }"#);
    assert!(text.contains("swap-off") && text.contains(" on *"), "{text}");
}

#[test]
fn a_plugin_without_teardown_says_so() {
    assert_eq!(harness::teardown_text("os-prepare", MANIFEST, FACTS, &["w1"]), "no teardown\n");
}

#[test]
fn what_only_the_plugin_knows_of_its_config_is_a_finding_at_its_place() {
    let manifest = MANIFEST.replace("\"kernel.panic\"", "\"kernel/panic\"");
    let bench = Bench::new(&manifest, FACTS);
    let loaded = bench.load("os-prepare").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let findings = runtime.block_on(loaded.validate(&bench.inputs)).unwrap();
    assert_eq!(findings.len(), 1);
    assert_eq!(
        findings[0].message,
        "config of stage `os-prepare` at /sysctls/kernel~1panic: not a kernel parameter"
    );
    let span = &findings[0].spans[0];
    assert!(span.text[span.range.clone()].contains('5'), "{:?}", &span.text[span.range.clone()]);
}

#[test]
fn loading_from_a_warm_cache_never_compiles() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(MANIFEST, FACTS);
    let stage = bench.resolve("os-prepare").unwrap();
    crate::runtime::Runtime::new(folder.path()).unwrap().load(&stage).unwrap();
    let written = || {
        let files = std::fs::read_dir(folder.path().join("compiled")).unwrap().map(Result::unwrap);
        files.map(|file| (file.file_name(), file.metadata().unwrap().modified().unwrap())).collect::<Vec<_>>()
    };
    let kept = written();
    // A new engine, as in the next process.
    crate::runtime::Runtime::new(folder.path()).unwrap().load(&stage).unwrap();
    assert_eq!(written(), kept);
}

/// For `cargo lab bench`: what every run of `ksp` does first, engine included.
#[test]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout)]
fn measure_warm_loading_of_all_plugins() {
    let folder = tempfile::tempdir().unwrap();
    let (head, _) = MANIFEST.split_once("[[stage]]").unwrap();
    let names: Vec<&str> = crate::plugin::embedded::all().iter().map(|plugin| plugin.name).collect();
    let manifest =
        names.iter().fold(head.to_owned(), |text, name| text + &format!("[[stage]]\nuse = {name:?}\n"));
    let bench = Bench::new(&manifest, FACTS);
    let stages: Vec<_> = names.iter().map(|name| bench.resolve(name).unwrap()).collect();
    for round in 0..6 {
        let started = std::time::Instant::now();
        let runtime = crate::runtime::Runtime::new(folder.path()).unwrap();
        for stage in &stages {
            runtime.load(stage).unwrap();
        }
        // The first round compiles.
        if round > 0 {
            println!("{} plugins, took {:.1} ms", stages.len(), started.elapsed().as_secs_f64() * 1e3);
        }
    }
}
