use std::path::PathBuf;

use super::*;
use crate::exec::Unreachable;
use crate::operations::testing::manifest;
use crate::run::RunId;

fn step(stage: &str, node: Option<&str>, outcome: Outcome, seconds: f64) -> StepReport {
    let reason = (outcome == Outcome::NotStarted).then(|| "needs control-plane".to_owned());
    StepReport { stage: stage.into(), node: node.map(str::to_owned), outcome, seconds, reason }
}

fn failed(node: &str) -> StepFailure {
    StepFailure {
        stage: "control-plane".into(),
        node: Some(node.into()),
        address: Some("10.0.0.2".into()),
        plugin: "ksp/control-plane 0.1.0".into(),
        op: "wait-for:apiserver".into(),
        summary: "wait for the API server".into(),
        command: Some("curl -sk https://10.0.0.2:6443/readyz".into()),
        code: "ksp::op::verify-timeout".into(),
        message: "kube-apiserver did not become ready in 60s".into(),
        tail: vec!["E0821 authentication handshake failed\u{1b}[2J".into(), "(last 2 of 148 lines)".into()],
        hints: vec!["run the same command again; finished steps are skipped".into()],
    }
}

fn shown(report: &RunReport, kubeconfig: Option<&Path>, exit: Exit) -> String {
    let directory = RunDirectory {
        id: RunId::parse("0821-1412-7f3a").unwrap(),
        path: PathBuf::from("/nonexistent/state/prod/runs/0821-1412-7f3a"),
    };
    let manifest = manifest(3, 3);
    let ending = Ending {
        command: "up",
        manifest: &manifest,
        directory: &directory,
        report,
        planned: 0,
        kubeconfig,
        exit,
    };
    render(&ending, Look { width: 100, palette: Palette { enabled: false }, symbols: Symbols::UNICODE })
}

#[test]
fn success_ends_with_the_next_commands() {
    let steps = vec![
        step("os-prepare", Some("cp1"), Outcome::Changed, 11.0),
        step("containerd", Some("cp1"), Outcome::Unchanged, 0.1),
        step("control-plane", Some("cp1"), Outcome::Changed, 48.0),
        step("control-plane", Some("cp2"), Outcome::Changed, 33.0),
        step("network", None, Outcome::Changed, 20.0),
        step("workers", Some("w1"), Outcome::Changed, 9.0),
    ];
    let report = RunReport { steps, changed: 5, seconds: 136.0, ..RunReport::default() };
    insta::assert_snapshot!(shown(&report, Some(Path::new("./prod.kubeconfig")), Exit::Done));
}

#[test]
fn failure_says_who_what_why_and_what_was_done() {
    let steps = vec![
        step("os-prepare", Some("cp1"), Outcome::Changed, 11.0),
        step("os-prepare", Some("cp2"), Outcome::Changed, 12.0),
        step("etcd", Some("cp1"), Outcome::Unchanged, 1.0),
        step("control-plane", Some("cp1"), Outcome::Changed, 30.0),
        step("control-plane", Some("cp2"), Outcome::Failed, 62.0),
        step("control-plane", Some("cp3"), Outcome::NotStarted, 0.0),
        step("workers", Some("w1"), Outcome::NotStarted, 0.0),
        step("network", None, Outcome::NotStarted, 0.0),
    ];
    let unreachable = vec![Unreachable { node: "w3".into(), reason: "connection refused".into() }];
    let failures = vec![failed("cp2")];
    let report = RunReport {
        steps,
        failures,
        unreachable,
        changed: 3,
        failed: 1,
        not_started: 3,
        seconds: 188.0,
        ..RunReport::default()
    };
    let text = shown(&report, None, Exit::Failed);
    assert!(!text.contains('\u{1b}'));
    insta::assert_snapshot!(text);
}

#[test]
fn the_same_failure_of_many_nodes_is_told_once() {
    let failures: Vec<StepFailure> = (1..=20).map(|index| failed(&format!("w{index}"))).collect();
    let steps = (1..=20)
        .map(|index| step("control-plane", Some(&format!("w{index}")), Outcome::Failed, 2.0))
        .collect();
    let report = RunReport { steps, failures, failed: 20, seconds: 3.0, ..RunReport::default() };
    let text = shown(&report, None, Exit::Failed);
    assert_eq!(text.matches("error[").count(), 1);
    insta::assert_snapshot!(text);
}

#[test]
fn an_interrupted_run_says_how_to_go_on() {
    let steps = vec![
        step("os-prepare", Some("cp1"), Outcome::Changed, 11.0),
        step("etcd", Some("cp1"), Outcome::NotStarted, 0.0),
    ];
    let report = RunReport {
        steps,
        changed: 1,
        not_started: 1,
        seconds: 12.0,
        interrupted: true,
        ..RunReport::default()
    };
    let text = shown(&report, None, Exit::Interrupted);
    assert!(
        text.ends_with(
            "Interrupted after 1 of 2 steps. Run `ksp up manifest.toml` to continue.\nExit code 130\n"
        ),
        "{text}"
    );
}
