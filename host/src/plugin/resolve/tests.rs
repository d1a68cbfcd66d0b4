//! Whole manifests, all findings.

use std::path::Path;

use super::*;
use crate::plugin::package::assemble;

const HEAD: &str = r#"
[cluster]
name = "test"
kubernetes = "1.36.3"
endpoint = "10.0.0.1:6443"
[[node]]
name = "n1"
address = "10.0.0.1"
roles = ["control-plane"]
"#;

/// A plugin that cannot run, but can be resolved.
fn write_plugin(folder: &Path, name: &str, more: &str) {
    let manifest = format!(
        "name = 'acme/{name}'\nversion = '0.3.1'\napi = '^0.1'\nsummary = 's'\nlicense = 'MIT'\n{more}"
    );
    let schema = r##"{
        "type": "object", "additionalProperties": false,
        "properties": {
            "version": { "type": "string" },
            "count": { "type": "integer", "minimum": 1 },
            "mode": { "$ref": "#/$defs/Mode" },
            "replace": { "type": "boolean", "default": false },
            "mirrors": { "type": "array", "items": { "type": "object", "additionalProperties": false, "properties": { "url": {} } } }
        },
        "$defs": { "Mode": { "oneOf": [{ "const": "fast", "description": "d" }, { "const": "safe", "description": "d" }] } }
    }"##;
    let packed = assemble::assemble(b"\0asm\x0d\0\x01\0", &manifest, schema, &[]).unwrap();
    std::fs::write(folder.join(format!("{name}.wasm")), packed).unwrap();
}

fn resolved(folder: &Path, stages: &str) -> Result<Resolved, Vec<Diagnostic>> {
    let path = folder.join("manifest.toml");
    std::fs::write(&path, format!("{HEAD}{stages}")).unwrap();
    let loaded = crate::manifest::load(&path);
    let manifest = loaded.manifest.unwrap_or_else(|| panic!("{:#?}", loaded.findings));
    resolve(&manifest, Options::default())
}

/// Code, message and first hint of each finding, and what it points at.
fn shown(folder: &Path, stages: &str) -> String {
    let findings = resolved(folder, stages).unwrap_err();
    let line = |finding: &Diagnostic| {
        let hint = finding.hints.first().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
        let place =
            finding.spans.first().map(|span| span.text[span.range.clone()].to_owned()).unwrap_or_default();
        format!("{}: {}\n  at: {place:?}{hint}", finding.code, finding.message)
    };
    let text: Vec<String> = findings.iter().map(line).collect();
    text.join("\n").replace(&folder.display().to_string(), "[folder]")
}

#[test]
fn everything_that_is_wrong_is_found_at_once() {
    let folder = tempfile::tempdir().unwrap();
    write_plugin(folder.path(), "a", "kubernetes = '>=1.40'\nrequires = ['runtime']\n");
    write_plugin(folder.path(), "b", "capabilities = ['exec', 'files:/etc/b/**']\n");
    let stages = r#"
[[stage]]
use = "./a.wasm"
version = "^0.4"
[stage.config]
versoin = "1"
count = 0
mode = "quick"
mirrors = [{ url = "x" }, { ulr = "y" }]
[[stage]]
use = "./b.wasm"
[[stage]]
use = "./missing.wasm"
[[stage]]
use = "ksp/os-prepar"
[[stage]]
use = "oci://ghcr.io/acme/x"
"#;
    insta::assert_snapshot!(shown(folder.path(), stages));
}

#[test]
fn slots_are_provided_once_and_without_cycles() {
    let folder = tempfile::tempdir().unwrap();
    write_plugin(folder.path(), "one", "provides = [{ slot = 'x', scope = 'node' }]\nrequires = ['y']\n");
    write_plugin(folder.path(), "two", "provides = [{ slot = 'y', scope = 'node' }]\nwants = ['x']\n");
    write_plugin(
        folder.path(),
        "three",
        "provides = [{ slot = 'x', scope = 'cluster' }]\nrequires = ['os']\n",
    );
    let stage = |name: &str| format!("[[stage]]\nuse = \"./{name}.wasm\"\n");
    insta::assert_snapshot!(shown(folder.path(), &(stage("one") + &stage("two"))), @r#"
    ksp::stage::cycle: stages wait for each other: `one` → `two` → `one`
      at: "\"./one.wasm\""
      hint: remove one of them
    "#);
    insta::assert_snapshot!(shown(folder.path(), &(stage("one") + &stage("three"))), @r#"
    ksp::stage::doubled-slot: slot `x` is provided twice: by stage `one` and by stage `three`
      at: "\"./three.wasm\""
      hint: remove stage `one` or stage `three`
    ksp::stage::missing-slot: stage `one` needs slot `y`, which no stage provides
      at: "\"./one.wasm\""
      hint: no embedded plugin provides it: add a stage whose plugin does
    ksp::stage::missing-slot: stage `three` needs slot `os`, which no stage provides
      at: "\"./three.wasm\""
      hint: add a stage: `use = "ksp/os-prepare"`
    "#);
}

#[test]
fn a_slot_of_nodes_may_be_provided_by_another_stage_on_each() {
    let folder = tempfile::tempdir().unwrap();
    write_plugin(folder.path(), "one", "provides = [{ slot = 'x', scope = 'node' }]\n");
    write_plugin(folder.path(), "two", "provides = [{ slot = 'x', scope = 'node' }]\n");
    write_plugin(folder.path(), "net", "provides = [{ slot = 'n', scope = 'cluster' }]\n");
    let worker = "[[node]]\nname = 'w'\naddress = '10.0.0.2'\nroles = ['worker']\n";
    let stage =
        |name: &str, nodes: &str| format!("[[stage]]\nuse = \"./{name}.wasm\"\nnodes = \"{nodes}\"\n");
    let chain = |one: &str, two: &str| format!("{worker}{}{}", stage("one", one), stage("two", two));
    let both = resolved(folder.path(), &chain("role=worker", "!role=worker")).unwrap();
    assert!(both.stages.iter().all(|stage| stage.nodes.as_ref().is_some_and(|nodes| nodes.len() == 1)));
    insta::assert_snapshot!(shown(folder.path(), &chain("role=worker", "name=w")), @r#"
    ksp::stage::doubled-slot: slot `x` is provided twice: by stage `one` and by stage `two`
      at: "\"./two.wasm\""
      hint: remove stage `one` or stage `two`, or give both `nodes` that share no node
    "#);
    insta::assert_snapshot!(shown(folder.path(), &(stage("one", "role=etcd") + &stage("net", "*"))), @r#"
    ksp::stage::no-nodes: stage `one` is for no node: its `nodes` matches none
      at: "\"./one.wasm\""
      hint: change its `nodes`, or remove the stage
    ksp::stage::whole-cluster: stage `net` provides slot `n` to the whole cluster: it cannot be for some nodes
      at: "\"./net.wasm\""
      hint: remove its `nodes`
    "#);
}

#[test]
fn a_loopback_endpoint_needs_a_stage_that_serves_it() {
    let folder = tempfile::tempdir().unwrap();
    write_plugin(folder.path(), "a", "");
    write_plugin(folder.path(), "b", "provides = [{ slot = 'endpoint', scope = 'node' }]\n");
    let found = |endpoint: &str, plugin: &str| {
        let path = folder.path().join("manifest.toml");
        let head = HEAD.replace("10.0.0.1:6443", endpoint);
        std::fs::write(&path, format!("{head}[[stage]]\nuse = \"./{plugin}.wasm\"\n")).unwrap();
        let manifest = crate::manifest::load(&path).manifest.unwrap();
        let findings = resolve(&manifest, Options::default()).err().unwrap_or_default();
        findings.into_iter().map(|finding| finding.code).collect::<Vec<_>>()
    };
    for local in ["127.0.0.1:7443", "localhost:7443"] {
        assert_eq!(found(local, "a"), ["ksp::stage::local-endpoint"]);
        assert!(found(local, "b").is_empty(), "{local}");
    }
    assert!(found("api.example:6443", "a").is_empty());
}

#[test]
fn nodes_for_etcd_need_a_stage_that_runs_it() {
    let folder = tempfile::tempdir().unwrap();
    write_plugin(folder.path(), "plain", "");
    write_plugin(folder.path(), "members", "provides = [{ slot = 'etcd', scope = 'cluster' }]");
    let node = "[[node]]\nname = \"e1\"\naddress = \"10.0.0.2\"\nroles = [\"etcd\"]\n";
    let chain = |plugin: &str| format!("{node}[[stage]]\nuse = \"./{plugin}.wasm\"\n");
    let found = shown(folder.path(), &chain("plain"));
    assert!(
        found.contains("ksp::stage::missing-slot: nodes with the role `etcd` need slot `etcd`"),
        "{found}"
    );
    assert!(found.contains("e1") && found.contains("`use = \"ksp/etcd\"`"), "{found}");
    assert!(resolved(folder.path(), &chain("members")).is_ok());
}

#[test]
fn the_first_party_name_is_reserved() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = "name = 'ksp/x'\nversion = '0.1.0'\napi = '^0.1'\nsummary = 's'\nlicense = 'MIT'\n";
    let packed = assemble::assemble(b"\0asm\x0d\0\x01\0", manifest, "{}", &[]).unwrap();
    std::fs::write(folder.path().join("x.wasm"), packed).unwrap();
    let text = shown(folder.path(), "[[stage]]\nuse = \"./x.wasm\"\n");
    assert!(text.starts_with("ksp::plugin::reserved-name"), "{text}");
}

#[test]
fn a_good_chain_is_locked_and_a_changed_plugin_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_plugin(folder.path(), "a", "capabilities = ['services']\n");
    let stages =
        "[[stage]]\nuse = \"./a.wasm\"\ngrants = [\"services\"]\n[[stage]]\nuse = \"ksp/os-prepare\"\n";
    let chain = resolved(folder.path(), stages).unwrap();
    assert_eq!(chain.stages.iter().map(|stage| stage.trusted).collect::<Vec<_>>(), [false, true]);
    let lock = std::fs::read_to_string(folder.path().join("ksp.lock")).unwrap();
    assert!(
        lock.contains("name = \"acme/a\"\nsource = \"./a.wasm\"\nversion = \"0.3.1\"\ndigest = \"sha256:"),
        "{lock}"
    );
    resolved(folder.path(), stages).unwrap();
    write_plugin(folder.path(), "a", "capabilities = ['services', 'exec']\n");
    let findings = resolved(folder.path(), stages).unwrap_err();
    assert_eq!(findings[0].code, "ksp::lock::changed");
    assert!(
        findings[0].notes.iter().any(|note| note.contains("other capabilities")),
        "{:?}",
        findings[0].notes
    );
    assert_eq!(std::fs::read_to_string(folder.path().join("ksp.lock")).unwrap(), lock);
}

#[test]
fn probes_of_strangers_need_a_grant() {
    let folder = tempfile::tempdir().unwrap();
    write_plugin(
        folder.path(),
        "a",
        "capabilities = ['services', 'probe']\n[[probe]]\nname = 'x'\nargv = ['id']\n",
    );
    let text = shown(folder.path(), "[[stage]]\nuse = \"./a.wasm\"\ngrants = [\"services\"]\n");
    assert!(text.starts_with("ksp::capability::denied") && text.contains("\"probe\"]"), "{text}");
}

#[test]
fn a_slot_may_depend_on_the_config() {
    let folder = tempfile::tempdir().unwrap();
    write_plugin(folder.path(), "proxy", "provides = [{ slot = 'p', scope = 'cluster' }]\n");
    write_plugin(folder.path(), "net", "provides = [{ slot = 'p', scope = 'cluster', when = '/replace' }]\n");
    write_plugin(folder.path(), "user", "requires = ['p']\n");
    let stage = |name: &str| format!("[[stage]]\nuse = \"./{name}.wasm\"\n");
    let replacing = format!("{}[stage.config]\nreplace = true\n", stage("net"));
    assert!(resolved(folder.path(), &(stage("proxy") + &stage("net") + &stage("user"))).is_ok());
    assert!(resolved(folder.path(), &(replacing.clone() + &stage("user"))).is_ok());
    insta::assert_snapshot!(shown(folder.path(), &(stage("proxy") + &replacing + &stage("user"))), @r#"
    ksp::stage::doubled-slot: slot `p` is provided twice: by stage `proxy` and by stage `net`
      at: "\"./net.wasm\""
      hint: remove stage `proxy` or stage `net`, or `replace = true` from stage `net`
    "#);
    insta::assert_snapshot!(shown(folder.path(), &(stage("net") + &stage("user"))), @r#"
    ksp::stage::missing-slot: stage `user` needs slot `p`, which no stage provides
      at: "\"./user.wasm\""
      hint: no embedded plugin provides it: add a stage whose plugin does
    "#);
}
