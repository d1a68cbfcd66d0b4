use std::time::Duration;

use super::harness::{CLUSTER, Cluster, steps, with};
use crate::event::Outcome;
use crate::op::OpId;

/// Runtime on all nodes, control plane on node 0, workers that pull images early.
fn typical() -> Cluster {
    let mut cluster = Cluster::new(1, 2);
    let runtime = vec![cluster.op("runtime", &[0, 1, 2], 1)];
    let control = vec![cluster.op("init", &[0], 20)];
    let pull = with(cluster.op("pull", &[1, 2], 5), |it| it.prepare = true);
    let workers = vec![pull, cluster.op("join", &[1, 2], 1)];
    cluster
        .stage("runtime", "gives-node:runtime", runtime)
        .stage("control-plane", "needs:runtime gives:api", control)
        .stage("workers", "needs:runtime needs:api", workers);
    cluster
}

#[tokio::test]
async fn workers_prepare_while_the_control_plane_comes_up() {
    let mut cluster = typical();
    let report = cluster.run().await;
    assert!(report.is_success(), "{report:?}");
    let log = &cluster.log;
    assert_eq!(log.most_at_once("runtime"), 3);
    assert!(log.follows(("runtime", 0), ("init", 0)) && log.follows(("runtime", 1), ("pull", 1)));
    assert!(log.overlap(("init", 0), ("pull", 1)) && log.overlap(("init", 0), ("pull", 2)));
    assert!(log.follows(("init", 0), ("join", 1)) && log.follows(("init", 0), ("join", 2)));
    assert_eq!((report.changed, report.ops), (6, 8));
}

#[tokio::test]
async fn each_node_waits_for_the_stage_that_provides_a_slot_there() {
    let mut cluster = Cluster::new(1, 2);
    let quick = vec![cluster.op("quick", &[0, 1], 1)];
    let slow = vec![cluster.op("slow", &[2], 20)];
    let join = vec![cluster.op("join", &[0, 1, 2], 1)];
    cluster.stage("one", "gives-node:runtime", quick).stage("other", "gives-node:runtime", slow).stage(
        "workers",
        "needs:runtime",
        join,
    );
    assert!(cluster.run().await.is_success());
    let log = &cluster.log;
    assert!(log.follows(("quick", 0), ("join", 0)) && log.follows(("quick", 1), ("join", 1)));
    assert!(log.follows(("slow", 2), ("join", 2)) && log.follows(("join", 1), ("join", 2)));
}

#[tokio::test]
async fn an_op_can_provide_a_slot_before_its_stage_ends() {
    let mut cluster = Cluster::new(3, 1);
    let init = with(cluster.op("init", &[0], 2), |it| it.provides = vec!["api".into()]);
    let join = with(cluster.op("join", &[1, 2], 5), |it| it.after = vec![OpId(0)]);
    let network = vec![cluster.op("network", &[0], 1)];
    let workers = vec![cluster.op("worker", &[3], 1)];
    cluster
        .stage("control-plane", "gives:api gives:control-plane", vec![init, join])
        .stage("network", "needs:api", network)
        .stage("workers", "needs:control-plane", workers);
    let report = cluster.run().await;
    assert!(report.is_success());
    let log = &cluster.log;
    assert!(log.follows(("init", 0), ("join", 1)) && log.follows(("init", 0), ("network", 0)));
    assert!(log.overlap(("join", 1), ("network", 0)));
    assert!(log.follows(("join", 1), ("worker", 3)) && log.follows(("join", 2), ("worker", 3)));
}

#[tokio::test]
async fn what_watches_from_elsewhere_waits_for_what_it_watches() {
    let mut cluster = Cluster::new(1, 2);
    let install = cluster.op("install", &[0, 1], 5);
    let rolled_out = with(cluster.cluster_op("rolled out", 3), |it| it.on_change = vec![OpId(0)]);
    let settle = with(cluster.op("settle", &[2], 1), |it| it.on_change = vec![OpId(1)]);
    cluster.stage("network", "", vec![install, rolled_out, settle]);
    assert!(cluster.run().await.is_success());
    let log = &cluster.log;
    assert!(log.follows(("install", 0), ("rolled out", CLUSTER)));
    assert!(log.follows(("install", 1), ("rolled out", CLUSTER)));
    assert!(log.follows(("rolled out", CLUSTER), ("settle", 2)));
}

#[tokio::test]
async fn batches_bound_the_nodes_of_an_op() {
    let mut cluster = Cluster::new(1, 6);
    let all = [1, 2, 3, 4, 5, 6];
    let few = with(cluster.op("few", &all, 3), |it| it.batch = Some(2));
    let ops = vec![cluster.op("all", &all, 1), few];
    cluster.stage("s", "", ops);
    assert!(cluster.run().await.is_success());
    assert_eq!((cluster.log.most_at_once("all"), cluster.log.most_at_once("few")), (6, 2));
}

#[tokio::test]
async fn stages_without_ops_on_a_node_pass_on_what_they_wait_for() {
    let mut cluster = Cluster::new(1, 1);
    let first = vec![cluster.op("first", &[0, 1], 4)];
    let middle = vec![cluster.op("middle", &[0], 1)];
    let last = vec![cluster.op("last", &[1], 1)];
    cluster
        .stage("first", "gives-node:first", first)
        .stage("middle", "needs:first gives-node:middle", middle)
        .stage("last", "needs:middle", last);
    assert!(cluster.run().await.is_success());
    assert!(cluster.log.follows(("first", 1), ("last", 1)));
}

#[tokio::test]
async fn an_early_op_recorded_late_does_not_block_the_rest() {
    let mut cluster = Cluster::new(1, 0);
    let pull = with(cluster.op("pull", &[0], 5), |it| it.prepare = true);
    let ops = vec![cluster.op("before", &[0], 1), pull, cluster.op("behind", &[0], 1)];
    cluster.stage("s", "", ops);
    assert!(cluster.run().await.is_success());
    assert!(cluster.log.overlap(("before", 0), ("pull", 0)));
    assert!(cluster.log.follows(("pull", 0), ("behind", 0)));
}

#[tokio::test]
async fn only_what_is_pending_runs() {
    let mut cluster = typical();
    let mut plan = cluster.plan();
    plan.stages[1].pending.clear();
    plan.stages[0].pending.retain(|(_, venue), _| *venue == crate::op::Venue::Node(crate::node::NodeId(2)));
    let job = cluster.job_for(plan);
    let report = crate::exec::apply(job).await.unwrap();
    assert_eq!(steps(&report), ["runtime@w2 Changed", "workers@w1 Changed", "workers@w2 Changed"]);
    assert_eq!(cluster.log.began("init", 0), None);
    assert!(cluster.log.follows(("runtime", 2), ("pull", 2)));
}

#[tokio::test]
async fn a_satisfied_op_costs_no_round_trip() {
    let mut cluster = typical();
    let mut plan = cluster.plan();
    plan.stages.iter_mut().for_each(|stage| {
        stage.pending.retain(|(_, venue), _| *venue == crate::op::Venue::Node(crate::node::NodeId(0)))
    });
    let job = cluster.job_for(plan);
    assert!(crate::exec::apply(job).await.unwrap().is_success());
    // Worker 1 only learns who the run is.
    assert_eq!(cluster.fakes[&crate::node::NodeId(1)].calls(), 1);
}

#[tokio::test]
async fn nodes_that_serve_are_interrupted_one_at_a_time() {
    for (serving, most) in [(vec![], 4), (vec![0, 1, 2, 3], 1)] {
        let mut cluster = Cluster::new(0, 4);
        cluster.nodes[0].roles = vec![crate::node::Role::ControlPlane];
        cluster.serving = serving.into_iter().collect();
        let drain = with(cluster.op("drain", &[0, 1, 2, 3], 2), |it| it.disruptive = Some("restarts".into()));
        let ops = vec![cluster.op("file", &[0, 1, 2, 3], 1), drain, cluster.op("ready", &[0, 1, 2, 3], 3)];
        cluster.stage("s", "", ops);
        assert!(cluster.run().await.is_success());
        assert_eq!(cluster.log.most_at_once("file"), 4);
        // The control plane (one budget) and a worker (the other) may overlap; two workers never.
        assert!(cluster.log.most_at_once("drain") <= if most == 1 { 2 } else { 4 });
        if most == 1 {
            let mut windows: Vec<(usize, usize)> = (1..4)
                .map(|node| {
                    (cluster.log.began("drain", node).unwrap(), cluster.log.ended("ready", node).unwrap())
                })
                .collect();
            windows.sort_unstable();
            assert!(windows.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{windows:?}");
        }
    }
}

#[tokio::test]
async fn a_thousand_nodes() {
    let mut cluster = Cluster::new(3, 997);
    let all: Vec<u32> = (0..1000).collect();
    let workers: Vec<u32> = (3..1000).collect();
    let early = with(cluster.op("pull", &workers, 1), |it| it.prepare = true);
    let runtime = vec![cluster.op("runtime", &all, 1), cluster.op("started", &all, 1)];
    let control = vec![cluster.op("control", &[0, 1, 2], 5)];
    let join = vec![early, cluster.op("join", &workers, 1)];
    cluster.options.parallel = 200;
    cluster
        .stage("runtime", "gives-node:runtime", runtime)
        .stage("control-plane", "needs:runtime gives:api", control)
        .stage("workers", "needs:api needs:runtime", join);
    let began = std::time::Instant::now();
    let report = cluster.run().await;
    assert!(report.is_success());
    assert_eq!(report.ops, 1000 * 2 + 3 + 997 * 2);
    assert!(report.steps.iter().all(|step| step.outcome == Outcome::Changed));
    // Generous: it takes well below a second on an idle machine.
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    // Control planes never queue behind workers.
    assert!(cluster.log.began("control", 2) < cluster.log.ended("pull", 999));
}
