use std::collections::BTreeMap;

use super::*;
use crate::event::Events;
use crate::exec::Cancel;
use crate::operations::testing;
use crate::paths::Paths;
use crate::redact::Redactor;
use crate::transport::fake::{FakeNode, failure, output};

fn entry(kind: &str, target: &str) -> LedgerEntry {
    LedgerEntry {
        kind: kind.into(),
        target: target.into(),
        stage: "containerd".into(),
        digest: None,
        details: BTreeMap::new(),
    }
}

fn node(id: usize, node: &FakeNode, entries: &[(&str, &str)]) -> NodeSurvey {
    let item = |(kind, target): &(&str, &str)| {
        let entry = entry(kind, target);
        Item { script: op::teardown_script(&entry), entry }
    };
    NodeSurvey {
        node: testing::manifest(1, 1).nodes[id].clone(),
        items: entries.iter().map(item).collect(),
        known: true,
        session: node.session(),
    }
}

/// `cp1` answers and has these entries, `w1` does not answer.
pub(crate) fn survey(plane: &FakeNode, entries: &[(&str, &str)]) -> Survey {
    Survey {
        manifest: Arc::new(testing::manifest(1, 1)),
        nodes: vec![node(0, plane, entries)],
        unreachable: vec![("w1".into(), "connection refused".into())],
        holders: vec![Holder { node: "cp1".into(), session: plane.session() }],
        highest_token: 4,
        teardown: Teardown::default(),
        whole: true,
    }
}

fn both(plane: &FakeNode, worker: &FakeNode) -> Survey {
    let mut survey = survey(plane, &[("file", "/etc/b"), ("file", "/etc/a")]);
    survey.nodes.push(node(1, worker, &[("file", "/etc/x")]));
    survey.unreachable.clear();
    survey
}

fn context() -> Context {
    Context {
        lock_timeout: Duration::ZERO,
        manifest: "manifest.toml".into(),
        paths: Paths { state: "/nonexistent".into(), cache: "/nonexistent".into() },
        events: Events::none(),
        redactor: Redactor::default(),
        cancel: Cancel::default(),
        accept_new: false,
        allow_network_rebuild: false,
    }
}

/// The mutating scripts, by what they are about.
fn order(node: &FakeNode) -> Vec<&'static str> {
    let known = [("/etc/a", "a"), ("/etc/b", "b"), ("/etc/x", "x"), (FAREWELL, "farewell")];
    let name = |text: String| known.iter().find(|(needle, _)| text.contains(needle)).map(|(_, name)| *name);
    node.texts().into_iter().filter_map(name).collect()
}

#[tokio::test]
async fn ledgers_go_backwards_and_the_folder_goes_last() {
    let (plane, worker) = (FakeNode::new(), FakeNode::new());
    let report = execute(&context(), &mut both(&plane, &worker), "0821-1412-7f3a").await.unwrap();
    assert!(report.is_success(), "{report:#?}");
    assert_eq!(order(&plane), ["b", "a", "farewell"]);
    assert_eq!(order(&worker), ["x", "farewell"]);
    let fenced = |text: &String| text.contains("was overtaken by number");
    assert!(worker.texts().iter().all(fenced), "every script on the worker looks at the fence");
    let last = plane.texts().pop().unwrap();
    assert!(last.contains(FAREWELL), "the lease is given back before its folder goes");
}

#[tokio::test]
async fn a_failure_stops_before_the_control_planes_and_keeps_the_ledger() {
    let (plane, worker) = (FakeNode::new(), FakeNode::new());
    worker.on("/etc/x", failure(1, "device busy\n"));
    let report = execute(&context(), &mut both(&plane, &worker), "0821-1412-7f3a").await.unwrap();
    assert!(!report.is_success());
    assert_eq!(report.failures[0].tail, ["device busy"]);
    assert_eq!((order(&plane), order(&worker)), (vec![], vec!["x"]));
}

#[tokio::test]
async fn a_locked_cluster_is_left_alone() {
    let (plane, worker) = (FakeNode::new(), FakeNode::new());
    let held = r#"held 40 {"token":9,"expires":99,"boot":"b","run":"0821-1398-11c2","who":"a@b","command":"ksp up","since":"x"}"#;
    plane.on("verb=acquire", output(75, held));
    let failure = execute(&context(), &mut both(&plane, &worker), "0821-1412-7f3a").await.unwrap_err();
    assert_eq!(failure.class, Class::Locked);
    assert_eq!((order(&plane), order(&worker)), (vec![], vec![]));
}

#[tokio::test]
async fn nodes_that_do_not_answer_make_it_fail() {
    let plane = FakeNode::new();
    let report = execute(&context(), &mut survey(&plane, &[]), "0821-1412-7f3a").await.unwrap();
    assert!(!report.is_success() && report.failures.is_empty());
    assert_eq!(report.unreachable[0].node, "w1");
}
