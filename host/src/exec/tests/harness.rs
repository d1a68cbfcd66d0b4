//! A cluster in memory: nodes that answer, ops that take their time, a log of what happened in which order.

mod ops;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
pub use ops::{ApiStep, CLUSTER, ClusterStep};

use crate::event::{Event, Events, Sink, Stamped};
use crate::exec::{
    Access, Callback, Cancel, ClusterAccess, Identity, Job, Layout, Member, Options, Refusal, RunReport,
    apply,
};
use crate::facts::Facts;
use crate::kubernetes::{Kubernetes, connect_directly};
use crate::ledger::Ledger;
use crate::manifest::Endpoint;
use crate::node::{Connection, Node, NodeId, Role};
use crate::op::{Action, Change, Modifiers, OpError, Venue, Verdict};
use crate::pki::Pki;
use crate::plan::pending::{self, Leftovers};
use crate::plan::{Filter, Plan, StagePlan, testing};
use crate::redact::Redactor;
use crate::state::ClusterState;
use crate::transport::fake::FakeNode;

/// What an op of the tests does when it is applied.
pub type Effect = Arc<dyn Fn(&str, u32) -> Result<(), OpError> + Send + Sync>;

/// An op that takes a while and tells the log.
#[derive(Clone)]
pub struct Step {
    pub name: &'static str,
    /// In [`UNIT`]s.
    pub takes: u32,
    pub effect: Option<Effect>,
    pub log: Log,
    /// Shell text instead of a pause: for real shells.
    pub script: Option<(String, String)>,
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// The time that ops of the tests are measured in. Tests compare the order of events, never times.
pub const UNIT: Duration = Duration::from_millis(25);

/// What happened: op, node, whether it began.
#[derive(Clone, Default)]
pub struct Log {
    pub lines: Arc<Mutex<Vec<(String, u32, bool)>>>,
}

impl Log {
    fn put(&self, name: &str, node: u32, begins: bool) {
        self.lines.lock().unwrap().push((name.to_owned(), node, begins));
    }

    /// Place in the order of events at which an op began on a node.
    pub fn began(&self, name: &str, node: u32) -> Option<usize> {
        self.find(name, node, true)
    }

    /// Place in the order of events at which an op ended on a node.
    pub fn ended(&self, name: &str, node: u32) -> Option<usize> {
        self.find(name, node, false)
    }

    fn find(&self, name: &str, node: u32, begins: bool) -> Option<usize> {
        let lines = self.lines.lock().unwrap();
        lines.iter().position(|line| line.0 == name && line.1 == node && line.2 == begins)
    }

    /// True when the first op had ended on its node before the second began on its own.
    pub fn follows(&self, first: (&str, u32), second: (&str, u32)) -> bool {
        let ended = self.ended(first.0, first.1).expect("the first op ran");
        ended < self.began(second.0, second.1).expect("the second op ran")
    }

    /// True when the two were under way at the same time.
    pub fn overlap(&self, one: (&str, u32), other: (&str, u32)) -> bool {
        !self.follows(one, other) && !self.follows(other, one)
    }

    /// How many of the ops overlapped at most.
    pub fn most_at_once(&self, name: &str) -> i32 {
        let (mut now, mut most) = (0, 0);
        for line in self.lines.lock().unwrap().iter().filter(|line| line.0 == name) {
            now += if line.2 { 1 } else { -1 };
            most = most.max(now);
        }
        most
    }
}

/// An op that fails on some nodes.
pub fn fails_on(nodes: &'static [u32]) -> Effect {
    Arc::new(move |name, node| {
        if nodes.contains(&node) {
            Err(OpError::new("test::failed", format!("{name} broke")))
        } else {
            Ok(())
        }
    })
}

/// A cluster of control planes and workers: nodes 0.. are control planes.
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub fakes: BTreeMap<NodeId, FakeNode>,
    pub log: Log,
    pub stages: Vec<StagePlan>,
    pub unreachable: BTreeMap<NodeId, String>,
    pub serving: BTreeSet<u32>,
    pub cancel: Cancel,
    pub sinks: Vec<Box<dyn Sink>>,
    pub options: Options,
    pub filter: Filter,
    pub leftovers: Leftovers,
    pub callback: Option<Arc<dyn Callback>>,
}

impl Cluster {
    pub fn new(planes: u32, workers: u32) -> Self {
        let node = |id: u32| Node {
            id: NodeId(id),
            name: if id < planes { format!("cp{id}") } else { format!("w{id}") },
            address: std::net::Ipv4Addr::from(0x0a00_0000 + id).into(),
            roles: vec![if id < planes { Role::ControlPlane } else { Role::Worker }],
            labels: BTreeMap::default(),
            taints: Vec::new(),
            connection: Connection::Local,
        };
        let nodes: Vec<Node> = (0..planes + workers).map(node).collect();
        Self {
            fakes: nodes.iter().map(|node| (node.id, FakeNode::new())).collect(),
            nodes,
            log: Log::default(),
            stages: Vec::new(),
            unreachable: BTreeMap::new(),
            serving: BTreeSet::new(),
            cancel: Cancel::default(),
            sinks: Vec::new(),
            options: Options::default(),
            filter: Filter::default(),
            leftovers: Leftovers::default(),
            callback: None,
        }
    }

    /// An op on some nodes.
    pub fn op(&self, name: &'static str, nodes: &[u32], takes: u32) -> (Action, Vec<u32>, Modifiers) {
        self.op_with(name, nodes, takes, None)
    }

    pub fn op_with(
        &self,
        name: &'static str,
        nodes: &[u32],
        takes: u32,
        effect: Option<Effect>,
    ) -> (Action, Vec<u32>, Modifiers) {
        let step = Step { name, takes, effect, log: self.log.clone(), script: None };
        (Action::Node(Arc::new(step)), nodes.to_vec(), Modifiers::default())
    }

    /// An op about some nodes, through the API.
    pub fn api_op(
        &self,
        name: &'static str,
        nodes: &[u32],
        takes: u32,
        effect: Option<Effect>,
    ) -> (Action, Vec<u32>, Modifiers) {
        let step = Step { name, takes, effect, log: self.log.clone(), script: None };
        (Action::NodeApi(Arc::new(ApiStep(step))), nodes.to_vec(), Modifiers::default())
    }

    /// An op in the cluster.
    pub fn cluster_op(&self, name: &'static str, takes: u32) -> (Action, Vec<u32>, Modifiers) {
        let step = Step { name, takes, effect: None, log: self.log.clone(), script: None };
        (Action::Cluster(Arc::new(ClusterStep(step))), Vec::new(), Modifiers::default())
    }

    /// Adds a stage.
    pub fn stage(&mut self, name: &str, slots: &str, ops: Vec<(Action, Vec<u32>, Modifiers)>) -> &mut Self {
        self.stages.push(testing::stage(name, slots, ops));
        self
    }

    /// All ops are pending, on nodes that can be reached.
    pub fn plan(&self) -> Plan {
        let mut plan = Plan { stages: self.stages.clone(), findings: Vec::new() };
        for stage in &mut plan.stages {
            for op in &stage.ops {
                for venue in op.venues() {
                    if let Venue::Node(node) = venue
                        && self.unreachable.contains_key(&node)
                    {
                        continue;
                    }
                    stage.verdicts.insert((op.id, venue), Verdict::Change(Change::default()));
                }
            }
        }
        pending::derive(&mut plan, &self.leftovers, &self.filter);
        plan
    }

    pub fn job(&mut self) -> Job {
        let plan = self.plan();
        self.job_for(plan)
    }

    pub fn job_for(&mut self, plan: Plan) -> Job {
        let reached = self.nodes.iter().filter(|node| !self.unreachable.contains_key(&node.id));
        let member = |node: &Node| Member {
            node: Arc::new(node.clone()),
            facts: Arc::new(Facts::default()),
            session: self.fakes[&node.id].session(),
            serves: self.serving.contains(&node.id.0),
            ledger: Ledger::default(),
            generation: None,
        };
        let callbacks = self.callback.clone();
        Job {
            identity: Identity {
                run: "0821-1412-7f3a".into(),
                cluster: "test".into(),
                command: "ksp up".into(),
                who: "me@here".into(),
                manifest: "sha256:0".into(),
            },
            callbacks: plan
                .stages
                .iter()
                .filter_map(|stage| callbacks.clone().map(|callback| (stage.name.clone(), callback)))
                .collect(),
            plan: Arc::new(plan),
            filter: self.filter.clone(),
            members: reached.map(|node| (node.id, member(node))).collect(),
            nodes: Arc::new(self.nodes.clone()),
            unreachable: self.unreachable.clone(),
            highest_token: 0,
            leftovers: self.leftovers.clone(),
            chain: Vec::new(),
            state: Arc::new(Mutex::new(ClusterState::new().unwrap())),
            kubernetes: Arc::new(SilentApi),
            downloads: downloads(),
            events: Events::new(std::mem::take(&mut self.sinks), Redactor::default()),
            cancel: self.cancel.clone(),
            options: self.options.clone(),
        }
    }

    pub async fn run(&mut self) -> RunReport {
        let job = self.job();
        apply(job).await.unwrap()
    }

    pub async fn try_run(&mut self) -> Result<RunReport, Refusal> {
        let job = self.job();
        apply(job).await
    }
}

pub fn downloads() -> Arc<crate::plugin::download::Downloads> {
    Arc::new(crate::plugin::download::Downloads::new("", false))
}

/// A client that would connect when it was used.
struct SilentApi;

#[async_trait]
impl ClusterAccess for SilentApi {
    async fn connect(&self) -> Result<Kubernetes, OpError> {
        let pki = Pki::new(Arc::new(Mutex::new(ClusterState::new().unwrap())), Redactor::default());
        pki.authority("kubernetes", "kubernetes", 1).unwrap();
        let nowhere = Endpoint { host: "127.0.0.1".into(), port: 1 };
        Ok(connect_directly(&[nowhere], &pki, "kubernetes").unwrap())
    }
}

/// Modifiers from a change to the default ones.
pub fn with(
    mut op: (Action, Vec<u32>, Modifiers),
    change: impl FnOnce(&mut Modifiers),
) -> (Action, Vec<u32>, Modifiers) {
    change(&mut op.2);
    op
}

/// Outcomes of steps as text: "stage@node outcome (reason)".
pub fn steps(report: &RunReport) -> Vec<String> {
    let line = |step: &crate::exec::StepReport| {
        let node = step.node.as_deref().unwrap_or("cluster");
        let reason = step.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        format!("{}@{node} {:?}{reason}", step.stage, step.outcome)
    };
    report.steps.iter().map(line).collect()
}

/// Keeps events, each with whether it had to be durable; can refuse to.
#[derive(Default)]
pub struct Journal {
    pub events: Arc<Mutex<Vec<(bool, Event)>>>,
    pub full: bool,
}

impl Sink for Journal {
    fn accept(&self, stamped: &Stamped, durable: bool) -> io::Result<()> {
        if durable && self.full {
            return Err(io::Error::other("disk full"));
        }
        self.events.lock().unwrap().push((durable, stamped.event.clone()));
        Ok(())
    }
}

/// A callback that changes nothing.
pub struct Quiet;

#[async_trait]
impl Callback for Quiet {
    async fn run(&self, access: Arc<Access>, _tag: &str, node: NodeId) -> Result<bool, OpError> {
        assert!(access.session(node).is_some());
        assert!(access.prelude(node).contains("ksp_f"));
        Ok(false)
    }
}

/// Where a real shell keeps a node's things.
pub fn layout(base: &std::path::Path) -> Layout {
    std::fs::create_dir_all(base).unwrap();
    let machine_id = base.join("machine-id");
    std::fs::write(&machine_id, "00112233445566778899aabbccddeeff").unwrap();
    Layout {
        base: base.join("ksp").display().to_string(),
        proc: "/proc".into(),
        machine_id: machine_id.display().to_string(),
    }
}
