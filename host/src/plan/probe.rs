//! Compares a plan with the nodes: one round trip a node for all ops and checks of all stages, nodes beside each other; then the
//! ops of the cluster through the API. Read-only.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;

use crate::diagnostic::{Diagnostic, Severity};
use crate::facts::Facts;
use crate::kubernetes::Kubernetes;
use crate::node::{Node, NodeId};
use crate::op::{
    Action, Change, ChangeAction, ClusterOp, NodeApiOp, NodeContext, OpError, OpId, Recorded, Venue, Verdict,
};
use crate::plan::{Check, Plan, StagePlan};
use crate::transport::{Output, Session, TransportError, batch, quote};

/// Nodes probed at a time.
const NODES_AT_A_TIME: usize = 64;
/// Questions to the API at a time.
const QUESTIONS_AT_A_TIME: usize = 16;
/// An answer of the API that takes longer counts as not known.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A node that can be probed.
#[derive(Clone)]
pub struct Target {
    /// Which.
    pub node: Arc<Node>,
    /// What is known of it.
    pub facts: Arc<Facts>,
    /// The connection.
    pub session: Arc<dyn Session>,
}

/// Fills the verdicts of all ops and adds the findings of the checks. Returns the nodes that were lost on the way.
pub async fn probe(
    plan: &mut Plan,
    checks: &[(usize, Check)],
    targets: &[Target],
    kubernetes: Option<&Kubernetes>,
) -> Vec<(NodeId, TransportError)> {
    let shared: &Plan = plan;
    let asked = targets.iter().map(|target| async move { (target, ask(shared, checks, target).await) });
    let cluster = probe_cluster(shared, targets, kubernetes);
    let nodes = futures_util::stream::iter(asked).buffer_unordered(NODES_AT_A_TIME).collect::<Vec<_>>();
    let (mut nodes, cluster) = tokio::join!(nodes, cluster);
    // Answers come in any order; findings must not.
    nodes.sort_by_key(|(target, _)| target.node.id);

    let mut lost = Vec::new();
    for (target, answer) in nodes {
        match answer {
            Ok(answers) => answers.into_iter().for_each(|answer| note(plan, target, answer)),
            Err(error) => lost.push((target.node.id, error)),
        }
    }
    for (stage, op, venue, verdict) in cluster {
        plan.stages[stage].verdicts.insert((op, venue), verdict);
    }
    lost
}

/// What a fragment was for, and what came of it.
enum Answer {
    Op { stage: usize, op: OpId, verdict: Result<Verdict, OpError> },
    Check(Option<Diagnostic>),
}

fn note(plan: &mut Plan, target: &Target, answer: Answer) {
    match answer {
        Answer::Op { stage, op, verdict: Ok(verdict) } => {
            plan.stages[stage].verdicts.insert((op, Venue::Node(target.node.id)), verdict);
        }
        Answer::Op { stage, op, verdict: Err(error) } => {
            let stage = &plan.stages[stage];
            let what = stage.op(op).map(Recorded::summary).unwrap_or_default();
            let mut finding = Diagnostic::error(error.code, error.message)
                .on_node(&target.node.name)
                .note(format!("stage `{}`: {what}", stage.name));
            finding.notes.extend(error.tail);
            finding.hints.extend(error.hints);
            plan.findings.push(finding);
        }
        Answer::Check(finding) => plan.findings.extend(finding),
    }
}

/// Asks one node everything at once.
async fn ask(plan: &Plan, checks: &[(usize, Check)], target: &Target) -> Result<Vec<Answer>, TransportError> {
    let here = target.node.id;
    let ops: Vec<(usize, &Recorded)> = plan
        .stages
        .iter()
        .enumerate()
        .flat_map(|(at, stage)| stage.ops.iter().map(move |op| (at, op)))
        .filter(|(_, op)| {
            op.nodes.contains(&here) && !matches!(op.action, Action::Cluster(_) | Action::NodeApi(_))
        })
        .collect();
    let checks: Vec<&(usize, Check)> =
        checks.iter().filter(|(_, check)| check.nodes.contains(&here)).collect();

    let mut fragments: Vec<String> =
        ops.iter().map(|(stage, op)| fragment(op, context(&plan.stages[*stage], op, target))).collect();
    fragments.extend(checks.iter().map(|(_, check)| quote::command(&check.argv)));
    let outputs = run_fragments(target.session.as_ref(), &fragments).await?;

    let (for_ops, for_checks) = outputs.split_at(ops.len());
    let judged = ops.iter().zip(for_ops).map(|((stage, op), output)| Answer::Op {
        stage: *stage,
        op: op.id,
        verdict: judge(op, context(&plan.stages[*stage], op, target), output),
    });
    let checked = checks.iter().zip(for_checks).map(|((stage, check), output)| {
        Answer::Check((!output.ok()).then(|| violated(&plan.stages[*stage], check, target, output)))
    });
    Ok(judged.chain(checked).collect())
}

/// One output for each fragment; empty fragments do not travel and count as an empty success.
async fn run_fragments(session: &dyn Session, fragments: &[String]) -> Result<Vec<Output>, TransportError> {
    let sent: Vec<String> = fragments.iter().filter(|fragment| !fragment.is_empty()).cloned().collect();
    let answers = if sent.is_empty() { Vec::new() } else { batch::run(session, &sent).await? };
    if answers.len() != sent.len() {
        return Err(TransportError::Other(format!("{} probes sent, {} answered", sent.len(), answers.len())));
    }
    let mut answers = answers.into_iter();
    let of = |fragment: &String| if fragment.is_empty() { None } else { answers.next() };
    Ok(fragments.iter().map(of).map(Option::unwrap_or_default).collect())
}

fn context<'a>(stage: &'a StagePlan, op: &'a Recorded, target: &'a Target) -> NodeContext<'a> {
    NodeContext { node: &target.node, facts: &target.facts, stage: &stage.name, modifiers: &op.modifiers }
}

/// What to ask a node about an op; empty when there is nothing to ask.
fn fragment(op: &Recorded, cx: NodeContext<'_>) -> String {
    match &op.action {
        Action::Node(node_op) => node_op.probe(cx),
        Action::Custom { .. } => guard(op),
        Action::NodeApi(_) | Action::Cluster(_) => String::new(),
    }
}

/// What guards a callback: it is satisfied when one of its guards holds.
fn guard(op: &Recorded) -> String {
    let creates = op.modifiers.creates.as_ref().map(|path| format!("[ -e {} ]", quote::quote(path)));
    let unless = op.modifiers.unless.as_ref().map(|argv| format!("{} >/dev/null 2>&1", quote::command(argv)));
    creates.into_iter().chain(unless).collect::<Vec<_>>().join(" || ")
}

fn judge(op: &Recorded, cx: NodeContext<'_>, output: &Output) -> Result<Verdict, OpError> {
    match &op.action {
        Action::Node(node_op) => node_op.judge(cx, output),
        Action::NodeApi(_) | Action::Custom { .. } | Action::Cluster(_) => {
            let guarded = op.modifiers.creates.is_some() || op.modifiers.unless.is_some();
            let runs = Verdict::Change(Change { action: ChangeAction::Run, diff: Vec::new() });
            Ok(if guarded && output.ok() { Verdict::Satisfied } else { runs })
        }
    }
}

/// Probes one op again: after its outcome became unknown.
///
/// # Errors
/// Of the transport, or what the node answered makes no sense.
pub async fn again(op: &Recorded, cx: NodeContext<'_>, session: &dyn Session) -> Result<Verdict, OpError> {
    let outputs = run_fragments(session, &[fragment(op, cx)]).await?;
    judge(op, cx, outputs.first().unwrap_or(&Output::default()))
}

fn violated(stage: &StagePlan, check: &Check, target: &Target, output: &Output) -> Diagnostic {
    let mut finding = Diagnostic::new(Severity::Error, &check.code, &check.message)
        .on_node(&target.node.name)
        .note(format!(
            "stage `{}`: `{}` exited with status {}",
            stage.name,
            quote::command(&check.argv),
            output.status
        ));
    finding.notes.extend(output.tail(5));
    finding.hints.extend(check.hint.clone());
    finding
}

/// What the API knows: ops of the cluster, and ops about nodes that were reached.
async fn probe_cluster(
    plan: &Plan,
    targets: &[Target],
    kubernetes: Option<&Kubernetes>,
) -> Vec<(usize, OpId, Venue, Verdict)> {
    let ops = plan.stages.iter().enumerate().flat_map(|(at, stage)| stage.ops.iter().map(move |op| (at, op)));
    let asked = ops.filter(|(_, op)| matches!(op.action, Action::Cluster(_) | Action::NodeApi(_)));
    let places = asked.flat_map(|(stage, op)| op.venues().into_iter().map(move |venue| (stage, op, venue)));
    let questions = places.filter_map(|(stage, op, venue)| {
        let question = match (&op.action, target(targets, venue)) {
            (Action::Cluster(cluster_op), _) => Question::Cluster(cluster_op.as_ref()),
            (Action::NodeApi(node_op), Some(target)) => Question::Node(node_op.as_ref(), &target.node.name),
            _ => return None,
        };
        Some(async move {
            let Some(kubernetes) = kubernetes else { return (stage, op.id, venue, Verdict::Unknown) };
            // An answer that cannot be had is not a finding: the op itself will say what is wrong when it is applied.
            let answer = tokio::time::timeout(ANSWER_WITHIN, question.ask(kubernetes)).await;
            let verdict = answer.map_or(Verdict::Unknown, |verdict| verdict.unwrap_or(Verdict::Unknown));
            (stage, op.id, venue, verdict)
        })
    });
    futures_util::stream::iter(questions).buffer_unordered(QUESTIONS_AT_A_TIME).collect().await
}

fn target(targets: &[Target], venue: Venue) -> Option<&Target> {
    match venue {
        Venue::Node(node) => targets.iter().find(|target| target.node.id == node),
        Venue::Cluster => None,
    }
}

/// What to ask the API about an op.
enum Question<'a> {
    Cluster(&'a dyn ClusterOp),
    Node(&'a dyn NodeApiOp, &'a str),
}

impl Question<'_> {
    async fn ask(&self, kubernetes: &Kubernetes) -> Result<Verdict, OpError> {
        match self {
            Question::Cluster(op) => op.probe(kubernetes).await,
            Question::Node(op, node) => op.probe(kubernetes, node).await,
        }
    }
}
