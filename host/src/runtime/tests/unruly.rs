//! Guests that trap, loop, hoard, pry and lie: each fails its own stage with an error that says what happened, and the host
//! goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasm_encoder::{
    Component, ComponentImportSection, ComponentTypeRef, ComponentTypeSection, InstanceType, PrimitiveValType,
};

use super::guest;
use crate::node::NodeId;
use crate::plan::StageDraft;
use crate::plugin::package::assemble;
use crate::runtime::{LoadedStage, NodeAccess, PluginError, harness};
use crate::transport::Session;
use crate::transport::fake::{FakeNode, Otherwise};

fn load(bench: &harness::Bench) -> Result<LoadedStage, Vec<crate::diagnostic::Diagnostic>> {
    let entry = &bench.inputs.manifest.stages[0];
    bench.load(&entry.plugin)
}

async fn plan(what: &str) -> Result<StageDraft, PluginError> {
    let (bench, _folder) = guest::bench(what);
    load(&bench).unwrap().plan(&bench.inputs).await
}

async fn fails(what: &str) -> PluginError {
    let started = Instant::now();
    let error = plan(what).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(60), "{what} took {:?}", started.elapsed());
    assert_eq!((error.plugin.as_str(), error.stage.as_str()), ("acme/unruly 0.3.1", "unruly"));
    assert!(!error.hints.is_empty() || error.code == "ksp::plugin::failed", "{error:?}");
    error
}

#[tokio::test]
async fn a_panic_is_an_error_with_its_message() {
    let error = fails("panic").await;
    assert_eq!(error.code, "ksp::plugin::trapped");
    assert!(error.tail.iter().any(|line| line.contains("the sky is falling")), "{:?}", error.tail);
}

#[tokio::test]
async fn an_endless_loop_ends_at_its_deadline() {
    let started = Instant::now();
    let error = fails("loop").await;
    assert_eq!(error.code, "ksp::plugin::timeout");
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn endless_recursion_is_an_error() {
    let error = fails("recurse").await;
    assert_eq!(error.code, "ksp::plugin::trapped");
    assert!(error.message.contains("recursion"), "{}", error.message);
}

#[tokio::test]
async fn memory_is_bounded() {
    let error = fails("eat-memory").await;
    assert_eq!(error.code, "ksp::plugin::out-of-memory");
    assert!(error.message.contains("64 MiB"), "{}", error.message);
}

#[tokio::test]
async fn what_the_host_holds_for_a_guest_is_bounded() {
    for what in ["hoard-blobs", "hoard-handles", "hand-over-too-much", "record-for-ever"] {
        let error = fails(what).await;
        assert!(
            ["ksp::plugin::trapped", "ksp::plugin::timeout"].contains(&error.code.as_str()),
            "{what}: {error:?}"
        );
    }
}

#[tokio::test]
async fn what_was_not_asked_for_or_granted_cannot_be_planned() {
    let draft = plan("ungranted").await.unwrap();
    let texts: Vec<String> = draft.findings.iter().map(|finding| finding.message.clone()).collect();
    assert_eq!(
        texts,
        [
            "plugin acme/unruly 0.3.1 is not allowed to write /etc/ssh/sshd_config (stage `unruly`)",
            "plugin acme/unruly 0.3.1 is not allowed to install packages (stage `unruly`)",
        ]
    );
    assert!(
        draft.findings.iter().all(|finding| finding.is_error() && finding.code == "ksp::capability::denied")
    );
}

#[tokio::test]
async fn all_mistakes_are_reported_together() {
    let draft = plan("mistakes").await.unwrap();
    assert_eq!(draft.findings[0].code, "ksp::plugin::invalid-plan");
    insta::assert_snapshot!(draft.findings[0].notes.join("\n"));
}

#[tokio::test]
async fn nodes_and_secret_bytes_are_out_of_reach_while_planning() {
    for what in ["exec-in-plan", "reveal-in-plan", "another-secret"] {
        let error = fails(what).await;
        assert_eq!(error.code, "ksp::capability::denied", "{what}: {error:?}");
    }
}

#[tokio::test]
async fn time_stands_still_and_chance_repeats_while_planning() {
    let seen = plan("clock-and-chance").await.unwrap().outputs["seen"].clone();
    assert!(seen.starts_with("946684800s 0ns "), "{seen}");
    assert_eq!(plan("clock-and-chance").await.unwrap().outputs["seen"], seen);
}

#[tokio::test]
async fn there_are_no_files_no_network_and_no_environment() {
    assert_eq!(plan("escape").await.unwrap().outputs["seen"], "true true 0");
}

#[tokio::test]
async fn what_a_guest_says_cannot_play_tricks_on_the_terminal() {
    let error = fails("terminal-tricks").await;
    let text = format!("{error} {:?}", error.tail);
    assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
}

#[tokio::test]
async fn a_flood_of_messages_is_cut() {
    assert!(fails("flood").await.tail.len() <= 40);
}

#[tokio::test]
async fn secrets_stay_secret_in_what_is_recorded() {
    let (bench, _folder) = guest::bench("secrets-everywhere");
    let draft = load(&bench).unwrap().plan(&bench.inputs).await.unwrap();
    let token = bench.inputs.secrets.generate("token", "abcdef", 20).unwrap();
    let token = String::from_utf8(token.expose().to_vec()).unwrap();
    let shown = format!("{draft:?}");
    assert!(!shown.contains(&token) && !shown.contains("PRIVATE KEY"), "{shown}");
    assert!(draft.findings.is_empty(), "{:?}", draft.findings);
    assert_eq!(draft.ops[0].modifiers.mode, Some(0o600));
}

#[tokio::test]
async fn validation_sees_config_and_cluster_only() {
    let (bench, _folder) = guest::bench("look-while-validating");
    let findings = load(&bench).unwrap().validate(&bench.inputs).await.unwrap();
    assert!(
        findings[0].message.ends_with("a secret is not there while a config is validated"),
        "{}",
        findings[0].message
    );
    let (bench, _folder) = guest::bench("record-while-validating");
    let error = load(&bench).unwrap().validate(&bench.inputs).await.unwrap_err();
    assert!(error.message.contains("outside of `plan`"), "{}", error.message);
}

struct Access(Arc<dyn Session>);

impl NodeAccess for Access {
    fn session(&self, _node: NodeId) -> Option<Arc<dyn Session>> {
        Some(self.0.clone())
    }
    fn prelude(&self, _node: NodeId) -> String {
        ": fence".into()
    }
}

async fn run(what: &str, tag: &str) -> (Result<bool, PluginError>, FakeNode) {
    let (bench, _folder) = guest::bench(what);
    let node = FakeNode::new();
    node.otherwise(Otherwise::Shell);
    let access = Arc::new(Access(node.session()));
    let loaded = load(&bench).unwrap();
    (loaded.run(&bench.inputs, access, tag, NodeId(0)).await, node)
}

#[tokio::test]
async fn a_custom_op_runs_commands_and_writes_files_behind_the_fence() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let (changed, node) = run(folder.path().to_str().unwrap(), "work").await;
    assert!(changed.unwrap());
    assert_eq!(std::fs::read_to_string(folder.path().join("put")).unwrap(), "it's $HOME\n");
    assert!(
        node.texts().iter().filter(|text| text.contains("mktemp")).all(|text| text.starts_with(": fence\n"))
    );
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "no temporary file stays behind");
}

#[tokio::test]
async fn a_custom_op_that_fails_says_how() {
    let error = run("/tmp", "fail").await.0.unwrap_err();
    assert_eq!(error.code, "ksp::plugin::failed");
    assert_eq!(error.message, "`sh` exited with 3 (exec.failed)");
    assert_eq!(error.tail, ["output: it broke"]);
}

#[tokio::test]
async fn grants_hold_in_run_as_well() {
    for tag in ["ungranted", "reveal"] {
        let (answer, node) = run("/tmp", tag).await;
        assert_eq!(answer.unwrap_err().code, "ksp::capability::denied", "{tag}");
        assert!(node.texts().is_empty(), "{tag} reached the node");
    }
    assert_eq!(run("/tmp", "record").await.0.unwrap_err().code, "ksp::plugin::trapped");
    assert_eq!(run("/tmp", "unknown").await.0.unwrap_err().code, "ksp::plugin::trapped");
}

fn refused(plugin: &[u8]) -> crate::diagnostic::Diagnostic {
    let (bench, _folder) = guest::bench_with(plugin, "panic");
    load(&bench).unwrap_err().remove(0)
}

/// A component without code that imports one function of one interface.
fn importing(name: &str) -> Vec<u8> {
    let mut interface = InstanceType::new();
    interface.ty().function().params::<[(&str, PrimitiveValType); 0], _>([]).result(None);
    interface.export("jump", ComponentTypeRef::Func(0));
    let mut types = ComponentTypeSection::new();
    types.instance(&interface);
    let mut imports = ComponentImportSection::new();
    imports.import(name, ComponentTypeRef::Instance(0));
    let mut component = Component::new();
    component.section(&types).section(&imports);
    packed(&component.finish())
}

fn packed(component: &[u8]) -> Vec<u8> {
    let manifest = "name = 'acme/unruly'\nversion = '0.3.1'\napi = '^0.1'\nsummary = 's'\nlicense = 'MIT'\n";
    assemble::assemble(component, manifest, "{}", &[]).unwrap()
}

#[test]
fn what_is_not_for_this_host_is_refused_with_both_versions() {
    let finding = refused(&importing("ksp:plugin/cluster@0.2.0"));
    assert_eq!(finding.code, "ksp::plugin::incompatible");
    assert!(finding.message.contains("0.2.0") && finding.message.contains("0.1.0"), "{}", finding.message);
    let finding = refused(&importing("ksp:plugin/teleport@0.1.0"));
    assert_eq!(finding.code, "ksp::plugin::incompatible");
    assert!(finding.notes.iter().any(|note| note.contains("teleport")), "{:?}", finding.notes);
    // Exports nothing.
    assert_eq!(refused(&packed(b"\0asm\x0d\0\x01\0")).code, "ksp::plugin::incompatible");
}

#[test]
fn damaged_files_are_refused() {
    let whole = guest::packed();
    assert_eq!(refused(&whole[..whole.len() / 2]).code, "ksp::plugin::not-a-component");
    assert_eq!(refused(b"\0asm\x01\0\0\0").code, "ksp::plugin::not-a-component");
    // A flipped bit in the code: the digest differs, and what is left is not valid or does something else, never more.
    let mut flipped = whole.to_vec();
    flipped[5000] ^= 0x55;
    let (bench, _folder) = guest::bench_with(&flipped, "custom");
    match load(&bench) {
        Ok(_) => {}
        Err(findings) => assert!(findings[0].code.starts_with("ksp::plugin::"), "{findings:?}"),
    }
}

#[tokio::test]
async fn the_host_goes_on_after_all_that() {
    for what in ["panic", "recurse"] {
        fails(what).await;
    }
    assert_eq!(plan("custom").await.unwrap().ops.len(), 1);
}
