//! `ksp reset`: removes what the ledgers list, from the nodes that were asked for, and nothing else.
//!
//! A ledger is taken back from its newest entry to its oldest; every script is safe to repeat, so an interrupted reset is
//! continued by another one. ksp's own folder goes last, and only when everything else is gone.

pub mod teardown;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::context::Context;
use super::plan::{
    DOCUMENT_VERSION, Document, NodeEntry, OpAction, OpEntry, StageEntry, StepEntry, StepState, Totals,
};
use teardown::Teardown;

use super::prepare::who;
use super::reach::{self, Reached};
use super::{Class, Failure};
use crate::event::{Event, Outcome};
use crate::exec::lease::{Claim, Holder, Lease, LeaseError};
use crate::exec::{Layout, RunReport, StepFailure, StepReport, Unreachable, prelude};
use crate::manifest::Manifest;
use crate::node::{Node, NodeId, Role};
use crate::op::{self, LedgerEntry, OpError};
use crate::transport::{Script, Session};

/// What the events call this work; the name of the command.
const STAGE: &str = "reset";

/// How long taking back one thing may take: stopping a service that has much to stop.
const ITEM_TIMEOUT: Duration = Duration::from_secs(300);

/// Removes the folders that were made on the way to something and are empty now, children before parents, and ksp's own; the fence
/// has looked before. A mount point stays, empty.
const FAREWELL: &str = r#"sort -ru -- "$ksp_b/folders" 2>/dev/null | while IFS= read -r ksp_f; do rmdir -- "$ksp_f" 2>/dev/null; done
rm -rf -- "$ksp_b" || [ -z "$(ls -A "$ksp_b")" ]"#;

/// What would be removed.
pub struct Survey {
    /// What describes the cluster.
    pub manifest: Arc<Manifest>,
    /// The nodes that answered.
    pub nodes: Vec<NodeSurvey>,
    /// Nodes that did not, and why: they stay as they are.
    pub unreachable: Vec<(String, String)>,
    /// What plugins do before: draining, leaving the cluster.
    pub teardown: Teardown,
    /// Control planes that answered: they hold the lease.
    holders: Vec<Holder>,
    highest_token: u64,
    whole: bool,
}

/// What would be removed from one node.
pub struct NodeSurvey {
    /// Which.
    pub node: Node,
    /// In the order of removal: the newest first.
    pub items: Vec<Item>,
    /// ksp's own folder is there.
    pub known: bool,
    session: Arc<dyn Session>,
}

/// One thing that ksp made.
#[derive(Debug, Clone)]
pub struct Item {
    /// What the ledger says.
    pub entry: LedgerEntry,
    /// How it is taken back; none for what stays.
    pub script: Option<String>,
}

impl Survey {
    /// True when ksp made nothing on these nodes.
    pub fn is_empty(&self) -> bool {
        self.nodes.iter().all(|node| node.items.is_empty() && !node.known)
    }

    /// What is written into the run's folder.
    pub fn document(&self) -> Document {
        let steps: Vec<StepEntry> = self.nodes.iter().map(step).collect();
        let nodes = u32::try_from(steps.len()).unwrap_or(u32::MAX);
        let totals = Totals { steps: nodes, nodes, remove: nodes, ..Totals::default() };
        let stage = StageEntry {
            name: STAGE.to_owned(),
            plugin: "ksp".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            digest: String::new(),
            steps,
        };
        Document {
            schema: DOCUMENT_VERSION,
            cluster: self.manifest.cluster.name.clone(),
            kubernetes: self.manifest.cluster.kubernetes.to_string(),
            running: None,
            nodes: self.nodes.iter().map(|node| entry(&node.node)).collect(),
            findings: Vec::new(),
            stages: vec![stage],
            totals,
        }
    }
}

fn entry(node: &Node) -> NodeEntry {
    NodeEntry {
        name: node.name.clone(),
        address: node.address.to_string(),
        roles: node.roles.clone(),
        reachable: true,
        known: true,
    }
}

fn step(node: &NodeSurvey) -> StepEntry {
    let op = |item: &Item| OpEntry {
        key: format!("{}:{}", item.entry.kind, item.entry.target),
        summary: format!("remove {} {}", item.entry.kind, item.entry.target),
        action: if item.script.is_some() { OpAction::Remove } else { OpAction::None },
        diff: Vec::new(),
        disruptive: None,
    };
    let ops: Vec<OpEntry> = node.items.iter().map(op).collect();
    let pending = u32::try_from(ops.len()).unwrap_or(u32::MAX);
    StepEntry {
        node: Some(node.node.name.clone()),
        state: StepState::Remove,
        pending,
        partly_unknown: false,
        ops,
    }
}

/// Connects and reads the ledgers. `names` empty means all nodes. Control planes are always asked: they hold the lease.
///
/// # Errors
/// The manifest is invalid, or a name is not in it.
pub async fn survey(context: &Context, names: &[String]) -> Result<Survey, Failure> {
    let manifest = Arc::new(reach::load(&context.manifest)?);
    let wanted: Vec<NodeId> = reach::named(&manifest, names)?.into_iter().map(|node| node.id).collect();
    let asked = |node: &&Node| wanted.contains(&node.id) || node.is(Role::ControlPlane);
    let nodes: Vec<&Node> = manifest.nodes.iter().filter(asked).collect();
    let (reached, unreachable) = reach::reach(context, &nodes).await;
    let holder = |node: &Reached| Holder { node: node.node.name.clone(), session: node.session.clone() };
    let holders = reached.iter().filter(|node| node.node.is(Role::ControlPlane)).map(holder).collect();
    let highest_token = reached.iter().filter_map(|node| node.gathered.marks.fence).max().unwrap_or(0);
    let is_wanted =
        |name: &String| manifest.nodes.iter().any(|node| node.name == *name && wanted.contains(&node.id));
    let unreachable = unreachable.into_iter().filter(|(name, _)| is_wanted(name)).collect();
    let nodes = reached.into_iter().filter(|node| wanted.contains(&node.node.id)).map(inspect).collect();
    let whole = wanted.len() == manifest.nodes.len();
    let mut survey =
        Survey { manifest, nodes, unreachable, teardown: Teardown::default(), holders, highest_token, whole };
    if !survey.is_empty() {
        let nodes: Vec<NodeId> = survey.nodes.iter().map(|node| node.node.id).collect();
        survey.teardown = teardown::plan(context, &nodes).await;
    }
    Ok(survey)
}

fn inspect(reached: Reached) -> NodeSurvey {
    let item = |entry: LedgerEntry| Item { script: op::teardown_script(&entry), entry };
    let items = reached.gathered.ledger.entries.into_iter().rev().map(item).collect();
    let known = reached.gathered.marks.identity.is_some() || reached.gathered.marks.fence.is_some();
    NodeSurvey { node: reached.node, items, known, session: reached.session }
}

/// Removes everything in the survey. Workers go first, control planes after them.
///
/// # Errors
/// The cluster is locked, or a part of it is to be reset and cannot be locked.
pub async fn execute(context: &Context, survey: &mut Survey, run: &str) -> Result<RunReport, Failure> {
    let began = Instant::now();
    let mut report = teardown::execute(context, &mut survey.teardown, run).await?;
    let survey = &*survey;
    // A node that could not leave its cluster must stay what it is; when everything goes, nothing is left to be hurt.
    if !survey.whole && (report.failed > 0 || report.not_started > 0) {
        return Ok(report);
    }
    let lease = lock(context, survey, run).await?;
    let token = lease.as_ref().map_or(survey.highest_token + 1, Lease::token);
    let fence = prelude::fence(&Layout::default(), token);
    let mut finished: Vec<&NodeSurvey> = Vec::new();
    for planes in [false, true] {
        let group = survey.nodes.iter().filter(|node| node.node.is(Role::ControlPlane) == planes);
        let fence = &fence;
        let work = group.map(|node| async move { (node, reset(context, node, fence).await) });
        for (node, (step, failure)) in join_all(work).await {
            match step.outcome {
                Outcome::Failed => report.failed += 1,
                Outcome::NotStarted => report.not_started += 1,
                _ => {
                    report.changed += 1;
                    finished.push(node);
                }
            }
            report.failures.extend(failure);
            report.steps.push(step);
        }
        // What still runs on workers needs its control planes.
        if report.failed > 0 || context.cancel.is_stopping() {
            break;
        }
    }
    if let Some(lease) = lease {
        lease.release().await;
    }
    for (node, error) in farewell(&finished, &fence).await {
        report.failures.push(failure(node, "directory:/var/lib/ksp", "remove ksp's own folder", error));
        report.failed += 1;
    }
    let left_out =
        |(node, reason): &(String, String)| Unreachable { node: node.clone(), reason: reason.clone() };
    report.unreachable = survey.unreachable.iter().map(left_out).collect();
    report.interrupted = context.cancel.is_stopping();
    report.seconds = began.elapsed().as_secs_f64();
    Ok(report)
}

/// Nobody else may change the cluster meanwhile. A whole cluster may be reset when too few control planes are left to agree:
/// there is nothing to protect any more.
async fn lock(context: &Context, survey: &Survey, run: &str) -> Result<Option<Lease>, Failure> {
    let total = survey.manifest.nodes.iter().filter(|node| node.is(Role::ControlPlane)).count();
    let claim = Claim {
        cluster: survey.manifest.cluster.name.clone(),
        run: run.to_owned(),
        who: who(),
        command: "ksp reset".to_owned(),
        since: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        highest_token: survey.highest_token,
    };
    let patience = (context.lock_timeout, &context.cancel);
    match Lease::wait(survey.holders.clone(), total, claim, Layout::default(), patience).await {
        Ok(Some(lease)) => Ok(Some(lease)),
        Ok(None) => Err(Failure::interrupted()),
        Err(error @ LeaseError::Held { .. }) => Err(Failure::new(Class::Locked, error.into())),
        Err(LeaseError::NoMajority { .. }) if survey.whole => Ok(None),
        Err(error) => Err(Failure::new(Class::Unreachable, error.into())),
    }
}

/// Takes one node's ledger back, up to the first thing that fails.
async fn reset(context: &Context, survey: &NodeSurvey, fence: &str) -> (StepReport, Option<StepFailure>) {
    let began = Instant::now();
    let (stage, node) = (STAGE.to_owned(), Some(survey.node.name.clone()));
    let events = &context.events;
    events.emit(Event::StepStarted { stage: stage.clone(), node: node.clone() });
    let mut failed = None;
    let mut outcome = Outcome::Changed;
    for item in &survey.items {
        let Some(script) = &item.script else { continue };
        if context.cancel.is_stopping() {
            outcome = Outcome::NotStarted;
            break;
        }
        let op = format!("{}:{}", item.entry.kind, item.entry.target);
        let summary = format!("remove {} {}", item.entry.kind, item.entry.target);
        let started = Instant::now();
        let announced = Event::OpStarted {
            stage: stage.clone(),
            node: node.clone(),
            op: op.clone(),
            summary: summary.clone(),
        };
        let done = match events.emit_durably(announced) {
            Ok(()) => take_back(context, survey, fence, script).await,
            Err(error) => {
                Err(OpError::new("ksp::run::journal", format!("the journal cannot be written: {error}")))
            }
        };
        let result = if done.is_ok() { Outcome::Changed } else { Outcome::Failed };
        let seconds = started.elapsed().as_secs_f64();
        events.emit(Event::OpFinished {
            stage: stage.clone(),
            node: node.clone(),
            op: op.clone(),
            outcome: result,
            seconds,
        });
        if let Err(error) = done {
            outcome = Outcome::Failed;
            failed = Some(failure(survey, &op, &summary, error));
            break;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    events.emit(Event::StepFinished { stage: stage.clone(), node: node.clone(), outcome, seconds });
    (StepReport { stage, node, outcome, seconds, reason: None }, failed)
}

async fn take_back(context: &Context, survey: &NodeSurvey, fence: &str, script: &str) -> Result<(), OpError> {
    let script = Script::new(format!("{fence}\n{script}")).with_timeout(ITEM_TIMEOUT);
    let output = tokio::select! {
        output = survey.session.run_aside(script) => output?,
        () = context.cancel.aborting() => return Err(OpError::new("ksp::run::aborted", "aborted")),
    };
    if output.ok() { Ok(()) } else { Err(OpError::from_output("it could not be removed", &output)) }
}

/// The last thing: without the folder nobody knows that ksp was here.
async fn farewell<'a>(nodes: &[&'a NodeSurvey], fence: &str) -> Vec<(&'a NodeSurvey, OpError)> {
    let work = nodes.iter().map(|node| async move {
        let script = Script::new(format!("{fence}\n{FAREWELL}"));
        match node.session.run(script).await {
            Ok(output) if output.ok() => None,
            Ok(output) => {
                Some((*node, OpError::from_output("ksp's own folder could not be removed", &output)))
            }
            Err(error) => Some((*node, error.into())),
        }
    });
    join_all(work).await.into_iter().flatten().collect()
}

fn failure(survey: &NodeSurvey, op: &str, summary: &str, error: OpError) -> StepFailure {
    StepFailure {
        stage: STAGE.to_owned(),
        node: Some(survey.node.name.clone()),
        address: Some(survey.node.address.to_string()),
        plugin: concat!("ksp ", env!("CARGO_PKG_VERSION")).to_owned(),
        op: op.to_owned(),
        summary: summary.to_owned(),
        command: error.command,
        code: error.code.to_owned(),
        message: error.message,
        tail: error.tail,
        hints: error.hints,
    }
}

#[cfg(test)]
pub(crate) mod tests;
