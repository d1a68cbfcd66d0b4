use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::harness::{Cluster, Journal, Quiet, UNIT, fails_on, steps, with};
use crate::event::Event;
use crate::exec::Refusal;
use crate::node::NodeId;
use crate::op::{Action, Modifiers, OpError, OpId};
use crate::plan::Filter;
use crate::transport::TransportError;
use crate::transport::fake::output;

fn three_stages(fail: &'static [u32]) -> Cluster {
    let mut cluster = Cluster::new(1, 2);
    let base = vec![cluster.op_with("base", &[0, 1, 2], 4, Some(fails_on(fail)))];
    let top = vec![cluster.op("top", &[0, 1, 2], 1)];
    let other = vec![cluster.op("other", &[0, 1, 2], 12)];
    cluster.stage("base", "gives:base", base).stage("top", "needs:base", top).stage("other", "", other);
    cluster
}

#[tokio::test]
async fn a_failed_worker_does_not_stop_the_others() {
    let report = three_stages(&[2]).run().await;
    insta::assert_debug_snapshot!(steps(&report), @r#"
    [
        "base@cp0 Changed",
        "base@w1 Changed",
        "base@w2 Failed",
        "top@cp0 Changed",
        "top@w1 Changed",
        "top@w2 NotStarted (`base` failed on w2)",
        "other@cp0 Changed",
        "other@w1 Changed",
        "other@w2 Changed",
    ]
    "#);
    assert!(!report.is_success());
    let failure = &report.failures[0];
    assert_eq!((failure.node.as_deref(), failure.address.as_deref()), (Some("w2"), Some("10.0.0.2")));
    assert_eq!((failure.op.as_str(), failure.summary.as_str()), ("step:base", "do base"));
    assert_eq!((failure.code.as_str(), failure.message.as_str()), ("test::failed", "base broke"));
}

#[tokio::test]
async fn a_failed_control_plane_stops_what_needs_it_and_nothing_else() {
    let report = three_stages(&[0]).run().await;
    insta::assert_debug_snapshot!(steps(&report), @r#"
    [
        "base@cp0 Failed",
        "base@w1 Changed",
        "base@w2 Changed",
        "top@cp0 NotStarted (`base` failed on cp0)",
        "top@w1 NotStarted (`base` failed on cp0)",
        "top@w2 NotStarted (`base` failed on cp0)",
        "other@cp0 Changed",
        "other@w1 Changed",
        "other@w2 Changed",
    ]
    "#);
}

#[tokio::test]
async fn an_unreachable_worker_is_left_out_and_the_run_is_no_success() {
    let mut cluster = three_stages(&[]);
    cluster.unreachable.insert(NodeId(2), "connection refused".into());
    let report = cluster.run().await;
    assert!(!report.is_success());
    assert_eq!((report.failed, report.not_started), (0, 0));
    assert_eq!(report.unreachable[0].node, "w2");
    assert_eq!(steps(&report).len(), 6);
}

#[tokio::test]
async fn an_unreachable_control_plane_stops_what_depends_on_it() {
    let mut cluster = three_stages(&[]);
    cluster.nodes.iter_mut().for_each(|node| node.roles = vec![crate::node::Role::ControlPlane]);
    cluster.unreachable.insert(NodeId(2), "connection refused".into());
    let report = cluster.run().await;
    insta::assert_debug_snapshot!(steps(&report), @r#"
    [
        "base@cp0 Changed",
        "base@w1 Changed",
        "top@cp0 NotStarted (w2 cannot be reached)",
        "top@w1 NotStarted (w2 cannot be reached)",
        "other@cp0 Changed",
        "other@w1 Changed",
    ]
    "#);
}

#[tokio::test]
async fn without_a_majority_of_control_planes_nothing_happens() {
    let mut cluster = Cluster::new(3, 0);
    let ops = vec![cluster.op("op", &[0, 1, 2], 1)];
    cluster.stage("s", "", ops);
    cluster.unreachable.insert(NodeId(1), "no route".into());
    cluster.unreachable.insert(NodeId(2), "no route".into());
    let Err(Refusal::Unreachable(finding)) = cluster.try_run().await else { panic!("it ran") };
    assert_eq!(finding.code, "ksp::lease::no-majority");
    assert_eq!(cluster.log.began("op", 0), None);
}

#[tokio::test]
async fn after_a_lost_connection_the_probe_decides() {
    for (done, applied) in [(true, 1), (false, 2)] {
        let mut cluster = Cluster::new(1, 0);
        let times = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&times);
        let effect = Arc::new(move |_: &str, _: u32| match seen.fetch_add(1, Ordering::SeqCst) {
            0 => Err(OpError::from(TransportError::OutcomeUnknown("cut".into()))),
            _ => Ok(()),
        });
        let ops = vec![cluster.op_with("op", &[0], 1, Some(effect))];
        cluster.stage("s", "", ops);
        cluster.fakes[&NodeId(0)].on("probe op", output(i32::from(!done), ""));
        assert!(cluster.run().await.is_success());
        assert_eq!(times.load(Ordering::SeqCst), applied);
    }
}

#[tokio::test]
async fn an_outcome_that_stays_unknown_fails_after_three_attempts() {
    let mut cluster = Cluster::new(1, 0);
    let effect = Arc::new(|_: &str, _: u32| Err(OpError::from(TransportError::OutcomeUnknown("cut".into()))));
    let ops = vec![cluster.op_with("op", &[0], 1, Some(effect))];
    cluster.stage("s", "", ops);
    cluster.fakes[&NodeId(0)].on("probe op", output(1, ""));
    let report = cluster.run().await;
    assert_eq!(report.failures[0].code, "ksp::transport::outcome-unknown");
    assert_eq!(cluster.fakes[&NodeId(0)].texts().iter().filter(|text| text.ends_with("apply op")).count(), 3);
}

#[tokio::test]
async fn retries_are_for_errors_that_may_pass() {
    for (retryable, attempts) in [(true, 3), (false, 1)] {
        let mut cluster = Cluster::new(1, 0);
        let times = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&times);
        let effect = Arc::new(move |_: &str, _: u32| {
            seen.fetch_add(1, Ordering::SeqCst);
            let mut error = OpError::new("test::failed", "busy");
            error.retryable = retryable;
            Err(error)
        });
        let op = with(cluster.op_with("op", &[0], 1, Some(effect)), |it| {
            it.retry = Some((2, Duration::from_millis(10)))
        });
        cluster.stage("s", "", vec![op]);
        let report = cluster.run().await;
        assert_eq!((times.load(Ordering::SeqCst), report.failed), (attempts, 1));
    }
}

#[tokio::test]
async fn the_journal_comes_before_every_effect() {
    let mut cluster = three_stages(&[]);
    let journal = Journal::default();
    let events = Arc::clone(&journal.events);
    let log = cluster.log.clone();
    let unannounced = Arc::new(Mutex::new(Vec::new()));
    for (id, fake) in &cluster.fakes {
        let (events, unannounced, id) = (Arc::clone(&events), Arc::clone(&unannounced), *id);
        fake.answer(move |ran| {
            let applied = ran.text.lines().last().and_then(|line| line.strip_prefix("apply "))?;
            let name = if id.0 == 0 { "cp0".to_owned() } else { format!("w{}", id.0) };
            let told = events.lock().unwrap().iter().any(|(durable, event)| {
                matches!(event, Event::OpStarted { node, op, .. }
                    if *durable && node.as_ref() == Some(&name) && *op == format!("step:{applied}"))
            });
            if !told {
                unannounced.lock().unwrap().push(format!("{applied} on {name}"));
            }
            None
        });
    }
    cluster.sinks.push(Box::new(journal));
    assert!(cluster.run().await.is_success());
    assert_eq!(*unannounced.lock().unwrap(), Vec::<String>::new());
    assert!(log.began("top", 0).is_some());
}

#[tokio::test]
async fn without_a_journal_there_is_no_effect() {
    let mut cluster = three_stages(&[]);
    cluster.sinks.push(Box::new(Journal { full: true, ..Journal::default() }));
    let report = cluster.run().await;
    assert!(!report.is_success() && !report.interrupted);
    assert!(report.stopped.as_deref().unwrap_or_default().contains("journal"));
    assert!(cluster.log.lines.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_first_ctrl_c_lets_running_ops_finish() {
    let mut cluster = three_stages(&[]);
    let cancel = cluster.cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(UNIT * 2).await;
        cancel.graceful();
    });
    let report = cluster.run().await;
    assert!(report.interrupted);
    assert!(cluster.log.ended("other", 1).is_some());
    assert_eq!(cluster.log.began("top", 1), None);
    assert!(steps(&report).contains(&"top@w1 NotStarted (the run was interrupted)".to_owned()));
}

#[tokio::test]
async fn the_second_ctrl_c_ends_everything() {
    let mut cluster = three_stages(&[]);
    let cancel = cluster.cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(UNIT * 2).await;
        cancel.graceful();
        cancel.abort();
    });
    let report = cluster.run().await;
    assert!(report.interrupted);
    assert_eq!(cluster.log.ended("other", 1), None);
}

#[tokio::test]
async fn a_watcher_of_a_callback_that_changed_nothing_does_not_run() {
    let mut cluster = Cluster::new(1, 0);
    let custom = (Action::Custom { tag: "t".into(), summary: "look".into() }, vec![0], Modifiers::default());
    let restart = with(cluster.op("restart", &[0], 1), |it| it.on_change = vec![OpId(0)]);
    cluster.stage("s", "", vec![custom, restart]);
    cluster.callback = Some(Arc::new(Quiet));
    let report = cluster.run().await;
    assert!(report.is_success());
    assert_eq!(cluster.log.began("restart", 0), None);
    assert_eq!(steps(&report), ["s@cp0 Unchanged"]);
}

#[tokio::test]
async fn naming_a_node_touches_no_other() {
    let mut cluster = three_stages(&[]);
    cluster.filter = Filter { nodes: Some([NodeId(2)].into()), stages: None };
    let report = cluster.run().await;
    assert_eq!(steps(&report), ["base@w2 Changed", "top@w2 Changed", "other@w2 Changed"]);
    assert_eq!(cluster.fakes[&NodeId(1)].calls(), 0);
}

#[tokio::test]
async fn after_a_failed_interruption_no_other_worker_is_interrupted() {
    let mut cluster = Cluster::new(1, 2);
    cluster.serving = [1, 2].into();
    let op = with(cluster.op_with("drain", &[1, 2], 1, Some(fails_on(&[1, 2]))), |it| {
        it.disruptive = Some("drains".into())
    });
    cluster.stage("s", "", vec![op]);
    let report = cluster.run().await;
    assert_eq!((report.failed, report.not_started), (1, 1));
    let reason = report.steps.iter().find_map(|step| step.reason.clone()).unwrap();
    assert!(reason.contains("did not come back"), "{reason}");
}
