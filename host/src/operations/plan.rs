//! `ksp plan`: a plan as a document, for people (`cli/ui/plan_view.rs`), for programs (`-o json`) and for the run's folder.
//! Data only; secrets are hidden before they get in.

use serde::Serialize;

use super::prepare::Prepared;
use super::{Class, Failure};
use crate::diagnostic::Diagnostic;
use crate::manifest::Manifest;
use crate::node::{NodeId, Role};
use crate::op::{ChangeAction, Recorded, Venue, Verdict};
use crate::plan::{Plan, StagePlan, Why};
use crate::redact::Redactor;

/// The version of the document: a minor release only adds.
pub const DOCUMENT_VERSION: &str = "1.0";

/// A whole plan.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Document {
    /// [`DOCUMENT_VERSION`].
    pub schema: &'static str,
    /// The cluster's name.
    pub cluster: String,
    /// The version asked for.
    pub kubernetes: String,
    /// The version that runs; none when nothing does, or nobody can tell.
    pub running: Option<String>,
    /// The machines, in the manifest's order.
    pub nodes: Vec<NodeEntry>,
    /// Findings of plugins and checks.
    pub findings: Vec<Diagnostic>,
    /// The stages, in the order of the plan.
    pub stages: Vec<StageEntry>,
    /// Sums over all steps.
    pub totals: Totals,
}

/// A machine.
#[derive(Debug, Clone, Serialize)]
pub struct NodeEntry {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// What it is for.
    pub roles: Vec<Role>,
    /// False when it could not be reached: it is left out.
    pub reachable: bool,
    /// ksp has worked on it before: what a run interrupts there may be in use.
    pub known: bool,
}

/// A stage.
#[derive(Debug, Clone, Serialize)]
pub struct StageEntry {
    /// Its name in the manifest.
    pub name: String,
    /// "publisher/name".
    pub plugin: String,
    /// The plugin's version.
    pub version: String,
    /// "sha256:…" of the plugin.
    pub digest: String,
    /// One a node that it concerns, in the manifest's order; the cluster's own last.
    pub steps: Vec<StepEntry>,
}

/// A stage on a node, or once for the cluster.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct StepEntry {
    /// None for what happens once for the cluster.
    pub node: Option<String>,
    /// What would happen.
    pub state: StepState,
    /// How many of `ops` would do something.
    pub pending: u32,
    /// Some of it is known only after an earlier step.
    pub partly_unknown: bool,
    /// All of them, in order.
    pub ops: Vec<OpEntry>,
}

impl StepEntry {
    /// True when a run would do something.
    pub fn is_pending(&self) -> bool {
        !matches!(self.state, StepState::UpToDate | StepState::NotProbed)
    }
}

/// What would happen to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// Nothing of it is there.
    Create,
    /// Some of it differs.
    Change,
    /// It only takes away.
    Remove,
    /// It only looks whether everything works.
    Check,
    /// Nothing to do.
    UpToDate,
    /// The node could not be asked.
    NotProbed,
}

/// An op on one node, or once for the cluster.
#[derive(Debug, Clone, Serialize)]
pub struct OpEntry {
    /// Stable within its stage.
    pub key: String,
    /// One line for people.
    pub summary: String,
    /// What would happen.
    pub action: OpAction,
    /// Lines with their sign.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub diff: Vec<String>,
    /// Why it interrupts what the node serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disruptive: Option<String>,
}

/// What would happen to an op.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OpAction {
    /// Nothing.
    None,
    /// It appears.
    Create,
    /// It changes.
    Modify,
    /// It goes away.
    Remove,
    /// A command runs.
    Run,
    /// It looks whether everything works.
    Check,
    /// Known only after an earlier step.
    Unknown,
    /// The node could not be asked.
    NotProbed,
}

impl OpAction {
    /// True when it is not known to be done.
    pub fn is_pending(self) -> bool {
        self != OpAction::None
    }

    /// True when it makes the node or the cluster different.
    pub fn is_change(self) -> bool {
        !matches!(self, OpAction::None | OpAction::Check | OpAction::NotProbed)
    }
}

/// Sums over all steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Totals {
    /// Steps that would do something.
    pub steps: u32,
    /// Nodes with such a step.
    pub nodes: u32,
    /// Steps of which nothing is there.
    pub create: u32,
    /// Steps of which some differs.
    pub change: u32,
    /// Steps that only take away.
    pub remove: u32,
    /// Steps that only look whether everything works.
    pub check: u32,
    /// Steps with nothing to do.
    pub up_to_date: u32,
}

/// The document of what was prepared.
pub fn document(prepared: &Prepared, redactor: &Redactor) -> Document {
    let reachable = |node| !prepared.unreachable.contains_key(&node);
    let known = |node| prepared.gathered.get(&node).is_some_and(|it| it.marks.identity.is_some());
    let running = prepared.running_version();
    Document { running, ..compose(&prepared.manifest, &prepared.plan, reachable, known, redactor) }
}

/// The document of a plan. `reachable` says which nodes answered, `known` on which ksp has worked before.
pub fn compose(
    manifest: &Manifest,
    plan: &Plan,
    reachable: impl Fn(NodeId) -> bool,
    known: impl Fn(NodeId) -> bool,
    redactor: &Redactor,
) -> Document {
    let nodes: Vec<NodeEntry> = manifest
        .nodes
        .iter()
        .map(|node| NodeEntry {
            name: node.name.clone(),
            address: node.address.to_string(),
            roles: node.roles.clone(),
            reachable: reachable(node.id),
            known: known(node.id),
        })
        .collect();
    let stages: Vec<StageEntry> = plan.stages.iter().map(|stage| entry(manifest, stage, redactor)).collect();
    Document {
        schema: DOCUMENT_VERSION,
        cluster: manifest.cluster.name.clone(),
        kubernetes: manifest.cluster.kubernetes.to_string(),
        running: None,
        nodes,
        findings: plan.findings.clone(),
        totals: totals(&stages),
        stages,
    }
}

/// Why a plan must not be executed: findings about nodes are the preflight's, all others are the manifest's or a plugin's.
pub fn refusal(plan: &Plan) -> Option<Failure> {
    let errors: Vec<Diagnostic> =
        plan.findings.iter().filter(|finding| finding.is_error()).cloned().collect();
    let class = match errors.as_slice() {
        [] => return None,
        errors if errors.iter().all(|finding| finding.node.is_some()) => Class::Unreachable,
        _ => Class::Invalid,
    };
    Some(Failure::all(class, errors))
}

fn entry(manifest: &Manifest, stage: &StagePlan, redactor: &Redactor) -> StageEntry {
    let venues = manifest.nodes.iter().map(|node| (Venue::Node(node.id), Some(&node.name)));
    let steps = venues.chain([(Venue::Cluster, None)]).filter_map(|(venue, node)| {
        let ops: Vec<OpEntry> = stage
            .ops
            .iter()
            .filter(|op| op.venues().contains(&venue))
            .map(|op| op_entry(stage, op, venue, redactor))
            .collect();
        (!ops.is_empty()).then(|| step(node.cloned(), ops))
    });
    StageEntry {
        name: stage.name.clone(),
        plugin: stage.plugin.name.clone(),
        version: stage.plugin.version.to_string(),
        digest: stage.plugin.digest.clone(),
        steps: steps.collect(),
    }
}

fn op_entry(stage: &StagePlan, op: &Recorded, venue: Venue, redactor: &Redactor) -> OpEntry {
    let at = (op.id, venue);
    let verdict = stage.verdicts.get(&at);
    let action = match (stage.pending.get(&at), verdict) {
        (None, None) => OpAction::NotProbed,
        (None, Some(_)) => OpAction::None,
        (Some(Why::Unknown), _) => OpAction::Unknown,
        (Some(Why::Gate), _) => OpAction::Check,
        (Some(_), Some(Verdict::Change(change))) => match change.action {
            ChangeAction::Create => OpAction::Create,
            ChangeAction::Modify => OpAction::Modify,
            ChangeAction::Remove => OpAction::Remove,
            ChangeAction::Run => OpAction::Run,
        },
        // Something that it watches changes: what it does itself always looks the same.
        (Some(_), _) => OpAction::Run,
    };
    let diff = match verdict {
        Some(Verdict::Change(change)) if action.is_pending() => &change.diff[..],
        _ => &[],
    };
    OpEntry {
        key: op.key(),
        summary: redactor.redact(&op.summary()),
        action,
        diff: diff.iter().map(|line| redactor.redact(line)).collect(),
        disruptive: op.modifiers.disruptive.clone(),
    }
}

fn step(node: Option<String>, ops: Vec<OpEntry>) -> StepEntry {
    let pending: Vec<OpAction> =
        ops.iter().map(|op| op.action).filter(|action| action.is_pending()).collect();
    let all = |accepted: &[OpAction]| pending.iter().all(|action| accepted.contains(action));
    let state = if pending.is_empty() {
        StepState::UpToDate
    } else if all(&[OpAction::NotProbed]) {
        StepState::NotProbed
    } else if all(&[OpAction::Check]) {
        StepState::Check
    } else if all(&[OpAction::Remove]) {
        StepState::Remove
    } else if pending.len() == ops.len()
        && all(&[OpAction::Create, OpAction::Run, OpAction::Check, OpAction::Unknown])
    {
        StepState::Create
    } else {
        StepState::Change
    };
    StepEntry {
        node,
        state,
        pending: u32::try_from(pending.len()).unwrap_or(u32::MAX),
        partly_unknown: pending.contains(&OpAction::Unknown),
        ops,
    }
}

fn totals(stages: &[StageEntry]) -> Totals {
    let mut totals = Totals::default();
    let mut nodes = std::collections::BTreeSet::new();
    for step in stages.iter().flat_map(|stage| &stage.steps) {
        match step.state {
            StepState::Create => totals.create += 1,
            StepState::Change => totals.change += 1,
            StepState::Remove => totals.remove += 1,
            StepState::Check => totals.check += 1,
            StepState::UpToDate => totals.up_to_date += 1,
            StepState::NotProbed => {}
        }
        if step.is_pending() {
            totals.steps += 1;
            nodes.extend(&step.node);
        }
    }
    totals.nodes = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
    totals
}
