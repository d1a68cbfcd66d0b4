//! Ops about nodes through the API, in their places: a node is drained, changed and opened before the next one is touched.

use super::harness::{Cluster, fails_on, steps, with};
use crate::node::NodeId;
use crate::op::{Action, Modifiers, OpId};
use crate::plan::pending;

/// Drains, changes and opens nodes, each in three ops.
fn switches(cluster: &Cluster, nodes: &[u32], fail: &'static [u32]) -> Vec<(Action, Vec<u32>, Modifiers)> {
    let drain = with(cluster.api_op("drain", nodes, 2, Some(fails_on(fail))), |it| {
        it.disruptive = Some("drains".into());
    });
    let open = with(cluster.api_op("open", nodes, 1, None), |it| it.on_change = vec![OpId(0)]);
    vec![drain, cluster.op("switch", nodes, 2), open]
}

#[tokio::test]
async fn one_worker_is_open_again_before_the_next_is_drained() {
    let mut cluster = Cluster::new(1, 3);
    cluster.serving = [0, 1, 2, 3].into();
    let ops = switches(&cluster, &[1, 2, 3], &[]);
    cluster.stage("runtime", "", ops);
    let report = cluster.run().await;
    assert!(report.is_success(), "{:?}", report.failures);
    for node in [1, 2, 3] {
        assert!(cluster.log.follows(("drain", node), ("switch", node)));
        assert!(cluster.log.follows(("switch", node), ("open", node)));
        for other in [1, 2, 3].into_iter().filter(|other| *other != node) {
            let first = cluster.log.follows(("open", node), ("drain", other));
            assert!(
                first || cluster.log.follows(("open", other), ("drain", node)),
                "{node} and {other} at once"
            );
        }
    }
}

#[tokio::test]
async fn control_planes_come_one_by_one_and_workers_after_them() {
    let mut cluster = Cluster::new(3, 1);
    cluster.serving = [0, 1, 2, 3].into();
    let mut ops = switches(&cluster, &[0, 1, 2], &[]);
    let workers = switches(&cluster, &[3], &[]).into_iter().enumerate().map(|(at, op)| {
        with(op, |it| match at {
            0 => it.after = vec![OpId(2)],
            2 => it.on_change = vec![OpId(3)],
            _ => {}
        })
    });
    ops.extend(workers);
    cluster.stage("runtime", "", ops);
    assert!(cluster.run().await.is_success());
    for plane in [0, 1, 2] {
        assert!(cluster.log.follows(("open", plane), ("drain", 3)));
        for other in (0..3).filter(|other| *other != plane) {
            let first = cluster.log.follows(("open", plane), ("drain", other));
            assert!(first || cluster.log.follows(("open", other), ("drain", plane)));
        }
    }
}

#[tokio::test]
async fn a_node_that_cannot_be_drained_is_not_changed_and_no_other_is_touched() {
    let mut cluster = Cluster::new(1, 2);
    cluster.serving = [1, 2].into();
    let ops = switches(&cluster, &[1, 2], &[1, 2]);
    cluster.stage("runtime", "", ops);
    let report = cluster.run().await;
    assert_eq!((report.failed, report.not_started), (1, 1), "{:?}", steps(&report));
    assert!(cluster.log.began("switch", 1).is_none() && cluster.log.began("switch", 2).is_none());
}

#[tokio::test]
async fn whoever_watches_an_op_of_the_api_is_noted_on_the_node_before_it_happens() {
    let mut cluster = Cluster::new(1, 1);
    let ops = switches(&cluster, &[1], &[1]);
    cluster.stage("runtime", "", ops);
    let mark = pending::marker(&cluster.stages[0], &cluster.stages[0].ops[2]);
    assert!(!cluster.run().await.is_success());
    let noted = cluster.fakes[&NodeId(1)].texts().iter().any(|text| text.contains(&mark));
    assert!(noted, "the node does not know that it has to be opened");
    assert!(cluster.fakes[&NodeId(0)].texts().iter().all(|text| !text.contains(&mark)));
}
