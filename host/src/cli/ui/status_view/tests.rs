use std::collections::BTreeMap;

use super::*;
use crate::node::NodeId;
use crate::op::{ChangeAction, Verdict};
use crate::operations::etcd::members::LastBackup;
use crate::operations::etcd::status::tests as etcd_tests;
use crate::operations::plan;
use crate::operations::status::{Asked, Certificate, Seen, compose};
use crate::operations::testing::{self, change, manifest, stage};
use crate::redact::Redactor;
use crate::run::history::Summary;

fn document(down: Option<u32>) -> plan::Document {
    let done = Some(Verdict::Satisfied);
    let stages = vec![stage(
        "os-prepare",
        &[
            (Some(0), "a", done.clone()),
            (Some(1), "a", done.clone()),
            (Some(2), "a", change(ChangeAction::Modify, &[])),
            (Some(3), "a", if down == Some(3) { None } else { done }),
        ],
    )];
    let reachable = |node| Some(node) != down.map(NodeId);
    plan::compose(&manifest(2, 2), &testing::plan(stages), reachable, |_| true, &Redactor::default())
}

fn seen(ready: Result<(), &str>) -> Seen {
    let ready = Some(ready.map_err(str::to_owned));
    Seen { ready, cordoned: false, version: Some("v1.36.3".into()) }
}

fn shown(report: &Report) -> String {
    render(report, "manifest.toml", "2026-08-21T16:12:00Z".parse().unwrap(), Palette { enabled: false })
}

#[test]
fn a_healthy_cluster_with_drift_is_healthy() {
    let all: BTreeMap<String, Seen> = [
        ("cp1".into(), seen(Ok(()))),
        ("cp2".into(), seen(Ok(()))),
        ("w1".into(), seen(Ok(()))),
        ("w2".into(), Seen { cordoned: true, ..seen(Ok(())) }),
    ]
    .into();
    let certificates = vec![
        Certificate { name: "kubernetes".into(), days_left: 3640 },
        Certificate { name: "kubernetes/admin".into(), days_left: 364 },
    ];
    let last_run = Summary {
        run: "0821-1412-7f3a".into(),
        cluster: "prod".into(),
        command: "up".into(),
        started: Some("2026-08-21T14:12:00Z".parse().unwrap()),
        exit_code: Some(0),
        seconds: Some(136.0),
        changed: Some(24),
        failed: Some(0),
    };
    let mut first = etcd_tests::working(0);
    first.backup = Some(LastBackup {
        time: "2026-08-21T12:12:00Z".parse().unwrap(),
        result: "done".into(),
        node: "cp1".into(),
        revision: 790,
        size: 5 << 20,
        hash: 1,
        error: String::new(),
    });
    let etcd = etcd_tests::report(&[first, etcd_tests::working(1), etcd_tests::working(2)]);
    let report =
        compose(&document(None), &BTreeMap::new(), &Ok(all), certificates, Some(etcd), Some(last_run));
    assert!(report.healthy);
    insta::assert_snapshot!(shown(&report));
}

#[test]
fn what_is_wrong_is_named_and_makes_it_unhealthy() {
    let all: BTreeMap<String, Seen> =
        [("cp1".into(), seen(Ok(()))), ("cp2".into(), seen(Err("container runtime is down\u{1b}[2J")))]
            .into();
    let unreachable = [("w2".to_owned(), "connection refused".to_owned())].into();
    let certificates = vec![Certificate { name: "kubernetes/admin".into(), days_left: 3 }];
    let etcd =
        etcd_tests::report(&[etcd_tests::working(0), etcd_tests::working(1), etcd_tests::silent(2, true)]);
    let report = compose(&document(Some(3)), &unreachable, &Ok(all), certificates, Some(etcd), None);
    assert!(!report.healthy);
    insta::assert_snapshot!(shown(&report));
}

#[test]
fn without_an_api_nothing_is_known_and_nothing_is_healthy() {
    let asked: Asked = Err("no control plane answers with an API server".into());
    let report = compose(&document(None), &BTreeMap::new(), &asked, Vec::new(), None, None);
    assert!(!report.healthy);
    insta::assert_snapshot!(shown(&report));
}
