//! One op at one venue: journal, attempts, what to do when nobody knows what happened, verification.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use crate::event::{Event, Outcome};
use crate::exec::access::Access;
use crate::exec::engine::Engine;
use crate::exec::{Member, verify};
use crate::node::NodeId;
use crate::op::{Action, ApplyContext, NodeContext, OpError, Recorded, Venue, Verdict};
use crate::plan::{StagePlan, probe};

/// How often an op is tried again after its outcome was unknown and its probe said that it is not done.
const UNKNOWN_ATTEMPTS: u32 = 2;
/// Pauses while a node that was lost comes back; about two minutes in all.
const RECONNECT_PAUSES: [u64; 7] = [1, 2, 4, 8, 15, 30, 60];
/// At most one line in this time about what is waited for.
const WAITING_EVERY: Duration = Duration::from_secs(3);
/// Above what the op's own script was given: only then something is wrong with the host's side.
const BACKSTOP: Duration = Duration::from_secs(60);
/// How long the API may take to answer when the stages before say that it is there.
const API_WITHIN: Duration = Duration::from_secs(120);

/// An op where it takes effect.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    /// The stage.
    pub stage: &'a StagePlan,
    /// The op.
    pub op: &'a Recorded,
    /// Where.
    pub venue: Venue,
    /// Shell text in front of everything that changes something.
    pub prelude: &'a str,
}

/// Makes it so, and reports it.
///
/// # Errors
/// Why it failed. The code `ksp::run::journal` means: nothing was tried, because it could not be written down first.
pub async fn execute(engine: &Engine, work: Work<'_>) -> Result<Outcome, OpError> {
    let (stage, node) = engine.names(work.stage, work.venue);
    let started = Instant::now();
    let (key, summary) = (work.op.key(), work.op.summary());
    let begun = Event::OpStarted { stage: stage.clone(), node: node.clone(), op: key.clone(), summary };
    engine.job.events.emit_durably(begun).map_err(|error| {
        OpError::new("ksp::run::journal", format!("the journal cannot be written: {error}"))
            .hint("free space in the state folder (`KSP_STATE_DIR`) and run the same command again")
    })?;
    let result = attempts(engine, work).await;
    let outcome = *result.as_ref().unwrap_or(&Outcome::Failed);
    let seconds = started.elapsed().as_secs_f64();
    engine.job.events.emit(Event::OpFinished { stage, node, op: key, outcome, seconds });
    result
}

async fn attempts(engine: &Engine, work: Work<'_>) -> Result<Outcome, OpError> {
    let (retries, pause) = work.op.modifiers.retry.unwrap_or((0, Duration::ZERO));
    let mut attempt = 0;
    loop {
        match known_attempt(engine, work).await {
            Ok(outcome) => return Ok(outcome),
            Err(error) if error.retryable && attempt < retries && !engine.must_stop() => attempt += 1,
            Err(error) => return Err(error),
        }
        tokio::time::sleep(pause).await;
    }
}

/// One attempt whose outcome is known in the end: after a lost connection the probe decides.
async fn known_attempt(engine: &Engine, work: Work<'_>) -> Result<Outcome, OpError> {
    let mut left = UNKNOWN_ATTEMPTS;
    loop {
        match one_attempt(engine, work).await {
            Err(error) if is_unknown(&error) && work.venue != Venue::Cluster => {
                if is_done(engine, work, &error).await? {
                    return Ok(Outcome::Changed);
                }
                if left == 0 || engine.must_stop() {
                    return Err(error);
                }
                left -= 1;
            }
            other => return other,
        }
    }
}

fn is_unknown(error: &OpError) -> bool {
    error.code == "ksp::transport::outcome-unknown"
}

fn is_lost(error: &OpError) -> bool {
    is_unknown(error) || matches!(error.code, "ksp::transport::unreachable" | "ksp::transport::timeout")
}

/// Asks the node whether an op of unknown outcome is done, as often as it takes the node to come back.
async fn is_done(engine: &Engine, work: Work<'_>, unknown: &OpError) -> Result<bool, OpError> {
    let Some(member) = engine.member(work.venue) else { return Err(unknown.clone()) };
    let cx = context(work, member);
    let (stage, node) = engine.names(work.stage, work.venue);
    for pause in RECONNECT_PAUSES {
        match probe::again(work.op, cx, member.session.as_ref()).await {
            Ok(verdict) => return Ok(verdict == Verdict::Satisfied),
            Err(error) if is_lost(&error) => engine.job.events.emit(Event::StepWaiting {
                stage: stage.clone(),
                node: node.clone(),
                waiting_for: "the node to come back".into(),
                reason: error.message,
            }),
            Err(error) => return Err(error),
        }
        let jitter: f64 = rand::random_range(0.8..1.2);
        tokio::time::sleep(Duration::from_secs(pause).mul_f64(jitter)).await;
    }
    Err(unknown.clone())
}

async fn one_attempt(engine: &Engine, work: Work<'_>) -> Result<Outcome, OpError> {
    let (lines, received) = unbounded_channel();
    let reporter = tokio::spawn(report(engine.reporting(work), received));
    let outcome = match tokio::time::timeout(limit(work.op), effect(engine, work, &lines)).await {
        Ok(Ok(outcome)) => confirm(engine, work, lines).await.map(|()| outcome),
        Ok(Err(error)) => Err(error),
        Err(_) => {
            let message = format!("it did not end within {}s", limit(work.op).as_secs());
            let mut error = OpError::new("ksp::op::timeout", message);
            error.retryable = true;
            Err(error)
        }
    };
    // A plugin may keep the other end; its later lines are of no interest.
    let _ = tokio::time::timeout(Duration::from_millis(100), reporter).await;
    outcome
}

async fn confirm(engine: &Engine, work: Work<'_>, lines: UnboundedSender<String>) -> Result<(), OpError> {
    let (Some((argv, deadline)), Some(member)) = (&work.op.modifiers.verify, engine.member(work.venue))
    else {
        return Ok(());
    };
    verify::verify(member.session.as_ref(), argv, *deadline, lines).await
}

async fn effect(
    engine: &Engine,
    work: Work<'_>,
    lines: &UnboundedSender<String>,
) -> Result<Outcome, OpError> {
    match (&work.op.action, work.venue) {
        (Action::Node(op), Venue::Node(_)) => {
            let member = engine.member(work.venue).ok_or_else(unreachable)?;
            let cx = ApplyContext {
                at: context(work, member),
                session: member.session.as_ref(),
                prelude: work.prelude,
                lines: lines.clone(),
                downloads: &engine.job.downloads,
            };
            op.apply(&cx).await.map(|()| Outcome::Changed)
        }
        (Action::NodeApi(op), Venue::Node(_)) => {
            let node = engine.node(work.venue).ok_or_else(unreachable)?;
            let kubernetes = engine.kubernetes(API_WITHIN, lines).await?;
            let applied = op.apply(&kubernetes, &node.name, work.op.modifiers.timeout, lines).await;
            applied.map(|()| Outcome::Changed)
        }
        (Action::Cluster(op), _) => {
            let kubernetes = engine.kubernetes(API_WITHIN, lines).await?;
            op.apply(&kubernetes, work.op.modifiers.timeout, lines).await.map(|()| Outcome::Changed)
        }
        (Action::Custom { tag, .. }, Venue::Node(node)) => {
            let changed = call_back(engine, work, tag, node).await?;
            Ok(if changed { Outcome::Changed } else { Outcome::Unchanged })
        }
        (Action::Node(_) | Action::NodeApi(_) | Action::Custom { .. }, Venue::Cluster) => {
            Err(OpError::new("ksp::plan::plugin-defect", "an op of nodes was recorded for the cluster"))
        }
    }
}

async fn call_back(engine: &Engine, work: Work<'_>, tag: &str, node: NodeId) -> Result<bool, OpError> {
    let Some(callback) = engine.job.callbacks.get(&work.stage.name) else {
        return Err(OpError::new("ksp::plan::plugin-defect", "the plugin cannot be called back"));
    };
    let access = Access {
        sessions: Arc::clone(&engine.sessions),
        here: (node, work.prelude.to_owned()),
        fence: engine.fence.clone(),
    };
    let changed = callback.run(Arc::new(access), tag, node).await?;
    // What the callback made (certificates, secrets) must outlive this run.
    engine.keep_state().await?;
    Ok(changed)
}

fn unreachable() -> OpError {
    OpError::new("ksp::transport::unreachable", "the node cannot be reached")
}

/// What an op looks at on a node.
pub fn context<'a>(work: Work<'a>, member: &'a Member) -> NodeContext<'a> {
    NodeContext {
        node: &member.node,
        facts: &member.facts,
        stage: &work.stage.name,
        modifiers: &work.op.modifiers,
    }
}

/// Far above what an op of the kind takes; ops keep their own, tighter deadlines.
fn limit(op: &Recorded) -> Duration {
    if let Some(timeout) = op.modifiers.timeout {
        return timeout + BACKSTOP;
    }
    let minutes = match kind(op) {
        "wait-for" | "kube-wait" => 120,
        "install" | "unpack" | "image" | "packages" | "custom" => 30,
        _ => 10,
    };
    Duration::from_secs(minutes * 60)
}

fn kind(op: &Recorded) -> &'static str {
    match &op.action {
        Action::Node(op) => op.kind(),
        Action::NodeApi(op) => op.kind(),
        Action::Cluster(op) => op.kind(),
        Action::Custom { .. } => "custom",
    }
}

/// How lines of an op are told.
pub struct Reporting {
    events: crate::event::Events,
    stage: String,
    node: Option<String>,
    /// Set for ops that wait: their lines are reasons.
    waiting_for: Option<String>,
}

impl Engine {
    fn reporting(&self, work: Work<'_>) -> Reporting {
        let (stage, node) = self.names(work.stage, work.venue);
        let waits =
            matches!(kind(work.op), "wait-for" | "kube-wait" | "drain") || work.op.modifiers.verify.is_some();
        let waiting_for = waits.then(|| work.op.summary());
        Reporting { events: self.job.events.clone(), stage, node, waiting_for }
    }
}

async fn report(to: Reporting, mut lines: UnboundedReceiver<String>) {
    let mut last: Option<Instant> = None;
    while let Some(text) = lines.recv().await {
        let (stage, node) = (to.stage.clone(), to.node.clone());
        let due = last.is_none_or(|at| at.elapsed() >= WAITING_EVERY);
        if let (Some(waiting_for), true) = (&to.waiting_for, due) {
            last = Some(Instant::now());
            let waiting_for = waiting_for.clone();
            to.events.emit(Event::StepWaiting { stage, node, waiting_for, reason: text });
        } else {
            to.events.emit(Event::StepLog { stage, node, text });
        }
    }
}
