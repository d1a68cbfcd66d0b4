//! Runs that are killed after every script, against real shells in folders: the next run must end where an uninterrupted one
//! does.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::harness::{Cluster, Log, Step, layout, with};
use crate::exec::{Job, Layout, lease};
use crate::ledger::Ledger;
use crate::node::NodeId;
use crate::op::{Action, Modifiers, OpId};
use crate::plan::pending::{self, Leftovers};
use crate::plan::probe::{self, Target};
use crate::plan::{Filter, Plan};
use crate::transport::fake::{FakeNode, Otherwise};

/// One control plane and one worker, each a folder; all share one layout text, so each fake gets its own copy of the scripts.
struct World {
    folder: tempfile::TempDir,
}

const NODES: [u32; 2] = [0, 1];

impl World {
    fn new() -> Self {
        // Every ledger is synced to disk: in memory that is free.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        NODES.iter().for_each(|node| {
            layout(&folder.path().join(node.to_string()));
        });
        Self { folder }
    }

    fn base(&self, node: u32) -> std::path::PathBuf {
        self.folder.path().join(node.to_string())
    }

    fn fake(&self, node: u32) -> FakeNode {
        let base = self.base(node).display().to_string();
        let fake = FakeNode::new();
        fake.otherwise(Otherwise::Refuse).answer(move |ran| {
            let text = ran.text.replace("/ksp-test", &base);
            let mut child = std::process::Command::new("/bin/sh")
                .args(["-c", &text])
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            let _ = std::io::Write::write_all(child.stdin.as_mut().unwrap(), &ran.stdin);
            let done = child.wait_with_output().unwrap();
            Some(Ok(crate::transport::Output {
                status: done.status.code().unwrap_or(-1),
                stdout: done.stdout.into(),
                stderr: done.stderr.into(),
                truncated: false,
            }))
        });
        fake
    }

    fn cluster(&self) -> Cluster {
        let mut cluster = Cluster::new(1, 1);
        cluster.fakes = NODES.iter().map(|node| (NodeId(*node), self.fake(*node))).collect();
        cluster.options.layout = Layout {
            base: "/ksp-test/ksp".into(),
            proc: "/proc".into(),
            machine_id: "/ksp-test/machine-id".into(),
        };
        let file = |name: &'static str| op(&cluster.log, name, format!("echo 1 >/ksp-test/{name}"));
        // Counts restarts since the config was written: the config's op starts the count anew.
        let config = op(&cluster.log, "config", "echo 1 >/ksp-test/config; rm -f /ksp-test/restarted".into());
        let restart = with(
            op(&cluster.log, "restart", "[ -e /ksp-test/config ] && echo 1 >/ksp-test/restarted".into()),
            |it| it.on_change = vec![OpId(0)],
        );
        let gate = with(op(&cluster.log, "gate", "[ -e /ksp-test/restarted ]".into()), |it| it.gate = true);
        let (binary, unit, join) = (file("binary"), file("unit"), file("join"));
        cluster
            .stage("base", "gives-node:base", vec![config, restart, binary])
            .stage("top", "needs:base gives:top", vec![unit, join])
            .stage("verify", "needs:top", vec![gate]);
        cluster
    }

    /// As a new process would see it: probes, markers, ledgers, fence.
    async fn plan(&self, cluster: &mut Cluster) -> (Plan, Facts) {
        let mut plan = Plan { stages: cluster.stages.clone(), findings: Vec::new() };
        let target = |node: &crate::node::Node| Target {
            node: Arc::new(node.clone()),
            facts: Arc::default(),
            session: cluster.fakes[&node.id].session(),
        };
        let targets: Vec<Target> = cluster.nodes.iter().map(target).collect();
        let lost = probe::probe(&mut plan, &[], &targets, None).await;
        assert!(lost.is_empty());
        let mut facts = Facts::default();
        for node in NODES {
            let ksp = self.base(node).join("ksp");
            let names = std::fs::read_dir(ksp.join("pending")).into_iter().flatten();
            let names =
                names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
            facts.leftovers.markers.insert(NodeId(node), names);
            facts.leftovers.dirty |= ksp.join("dirty").exists();
            if let Ok(text) = std::fs::read(ksp.join("ledger.json")) {
                facts.ledgers.insert(NodeId(node), serde_json::from_slice(&text).unwrap());
            }
            let fence = std::fs::read_to_string(ksp.join("fence")).unwrap_or_default();
            facts.token = facts.token.max(fence.trim().parse().unwrap_or(0));
        }
        pending::derive(&mut plan, &facts.leftovers, &Filter::default());
        (plan, facts)
    }

    async fn job(&self, cluster: &mut Cluster) -> Option<Job> {
        let (plan, facts) = self.plan(cluster).await;
        if plan.is_up_to_date() {
            return None;
        }
        cluster.leftovers = facts.leftovers.clone();
        let mut job = cluster.job_for(plan);
        job.highest_token = facts.token;
        for (node, ledger) in facts.ledgers {
            job.members.get_mut(&node).unwrap().ledger = ledger;
        }
        Some(job)
    }

    /// Files of a node that the ops made, and what ksp remembers of it.
    fn state(&self, node: u32) -> (Vec<String>, Vec<String>) {
        let names = |folder: &Path| -> Vec<String> {
            let entries = std::fs::read_dir(folder).into_iter().flatten();
            let mut names: Vec<String> =
                entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        let ksp = self.base(node).join("ksp");
        let ledger = std::fs::read(ksp.join("ledger.json")).unwrap();
        let ledger: Ledger = serde_json::from_slice(&ledger).unwrap();
        let mut entries: Vec<String> =
            ledger.entries.iter().map(|entry| format!("{} {:?}", entry.target, entry.digest)).collect();
        entries.sort();
        entries.extend(names(&ksp.join("pending")));
        entries.extend(names(&ksp).into_iter().filter(|name| name != "pending"));
        (names(&self.base(node)), entries)
    }
}

#[derive(Default)]
struct Facts {
    leftovers: Leftovers,
    ledgers: BTreeMap<NodeId, Ledger>,
    token: u64,
}

fn op(log: &Log, name: &'static str, script: String) -> (Action, Vec<u32>, Modifiers) {
    let probe = match name {
        "restart" | "gate" => String::new(),
        name => format!("[ -e /ksp-test/{name} ]"),
    };
    let step = Step { name, takes: 0, effect: None, log: log.clone(), script: Some((probe, script)) };
    (Action::Node(Arc::new(step)), NODES.to_vec(), Modifiers::default())
}

/// Runs and dies after the n-th script on any node: none of the later ones is sent. True when it came to its end before.
async fn run_until(world: &World, killed_at: usize) -> bool {
    let mut cluster = world.cluster();
    let Some(job) = world.job(&mut cluster).await else { return true };
    let (kill, killed) = tokio::sync::oneshot::channel();
    let kill = Mutex::new(Some(kill));
    let sent = Arc::new(AtomicUsize::new(0));
    let fakes: Vec<FakeNode> = cluster.fakes.values().cloned().collect();
    let strike: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
        if sent.fetch_add(1, Ordering::SeqCst) + 1 == killed_at {
            fakes.iter().for_each(|fake| {
                fake.set_delay(Duration::from_secs(3600));
            });
            kill.lock().unwrap().take().map(|kill| kill.send(()));
        }
    });
    for fake in cluster.fakes.values() {
        let strike = Arc::clone(&strike);
        // Only counts; the rule behind it answers.
        fake.answer(move |_| {
            strike();
            None
        });
    }
    tokio::select! {
        biased;
        _ = killed => false,
        report = crate::exec::apply(job) => { assert!(report.unwrap().is_success()); true }
    }
}

async fn run_to_the_end(world: &World) {
    let mut cluster = world.cluster();
    // The dead run's lease would hold for 45 s more.
    let holder = lease::Holder { node: "cp0".into(), session: cluster.fakes[&NodeId(0)].session() };
    let _ = lease::unlock(&[holder], "0821-1412-7f3a", &cluster.options.layout).await;
    if let Some(job) = world.job(&mut cluster).await {
        let report = crate::exec::apply(job).await.unwrap();
        assert!(report.is_success(), "{report:?}");
    }
    let (plan, facts) = world.plan(&mut cluster).await;
    assert!(plan.is_up_to_date() && !facts.leftovers.dirty, "{:?}", facts.leftovers);
}

#[tokio::test]
async fn a_run_that_is_killed_anywhere_is_finished_by_the_next() {
    let whole = World::new();
    run_to_the_end(&whole).await;
    let expected: Vec<_> = NODES.iter().map(|node| whole.state(*node)).collect();
    insta::assert_debug_snapshot!(expected[0].1, @r#"
    [
        "binary Some(\"sha256:1\")",
        "config Some(\"sha256:1\")",
        "gate Some(\"sha256:1\")",
        "join Some(\"sha256:1\")",
        "restart Some(\"sha256:1\")",
        "unit Some(\"sha256:1\")",
        ".ledger.revision",
        "applied.json",
        "fence",
        "ledger.json",
        "node.json",
        "state.json",
    ]
    "#);
    let mut killed_at = 1;
    loop {
        let world = World::new();
        if run_until(&world, killed_at).await {
            break;
        }
        run_to_the_end(&world).await;
        let state: Vec<_> = NODES.iter().map(|node| world.state(*node)).collect();
        assert_eq!(state, expected, "killed after script {killed_at}");
        killed_at += 1;
    }
    assert!(killed_at > 20, "only {killed_at} places to die");
}

#[tokio::test]
async fn a_second_run_has_nothing_to_do() {
    let world = World::new();
    run_to_the_end(&world).await;
    let mut cluster = world.cluster();
    assert!(world.job(&mut cluster).await.is_none());
}
