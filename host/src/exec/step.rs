//! One step: its ops at one venue, in order. What a step that cannot go on leaves undone is told to everybody who waits for it.

mod memory;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tokio::time::Instant;

use crate::event::{Event, Outcome};
use crate::exec::board::{Reason, Signal};
use crate::exec::budget::Permit;
use crate::exec::engine::{Engine, lock};
use crate::exec::op::{self, Work};
use crate::exec::report::{StepFailure, StepReport};
use crate::exec::schedule::{Condition, Schedule};
use crate::op::{Action, LedgerEntry, OpError, OpId, Recorded, Venue};
use crate::plan::{StagePlan, Why, pending};

/// A stage at one venue.
pub struct Step {
    pub(super) stage: usize,
    pub(super) venue: Venue,
    pub(super) done: Signal,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    parts_left: usize,
    started: Option<Instant>,
    /// Something took effect.
    changed: bool,
    /// Why the rest is not done.
    broken: Option<Broken>,
    /// The step's entries are on the node.
    intended: bool,
    /// Ops that turned out to change nothing.
    unchanged: BTreeSet<OpId>,
    made: Vec<LedgerEntry>,
    gone: Vec<LedgerEntry>,
    unmark: Vec<String>,
}

#[derive(Clone)]
enum Broken {
    Failed(Reason),
    NotStarted(Reason),
}

impl Broken {
    fn reason(&self) -> Reason {
        match self {
            Broken::Failed(reason) | Broken::NotStarted(reason) => Arc::clone(reason),
        }
    }
}

impl Step {
    pub(super) fn new(stage: usize, venue: Venue) -> Self {
        Self { stage, venue, done: Signal::default(), state: Mutex::default() }
    }

    /// How many parts will end.
    pub(super) fn expect(&self, parts: usize) {
        lock(&self.state).parts_left = parts;
    }
}

/// Ops of a step that run one after another: those that prepare, or the rest.
pub struct Part {
    pub(super) engine: Arc<Engine>,
    pub(super) schedule: Arc<Schedule>,
    pub(super) step: Arc<Step>,
    pub(super) conditions: Vec<Condition>,
    /// Places in the stage's ops.
    pub(super) ops: Vec<usize>,
}

impl Part {
    /// Runs it to its end, good or bad.
    pub(super) async fn run(self) {
        let mut permit = None;
        let mut settled = 0;
        let result = self.all(&mut permit, &mut settled).await;
        if let Err(broken) = result {
            if let (Broken::Failed(_), Some(permit)) = (&broken, permit.take()) {
                permit.forfeit();
            }
            let how = Err(broken.reason());
            self.ops[settled..].iter().for_each(|at| self.settle_op(*at, &how));
            // The first reason is the cause.
            lock(&self.step.state).broken.get_or_insert(broken);
        }
        drop(permit);
        let last = {
            let mut state = lock(&self.step.state);
            state.parts_left = state.parts_left.saturating_sub(1);
            state.parts_left == 0
        };
        if last {
            self.finish().await;
        }
    }

    async fn all(&self, permit: &mut Option<Permit>, settled: &mut usize) -> Result<(), Broken> {
        let stage = self.stage();
        if let Venue::Node(node) = self.step.venue
            && self.engine.job.unreachable.contains_key(&node)
            && self.engine.job.filter.allows(&stage.name, self.step.venue)
        {
            return Err(Broken::NotStarted(format!("{} cannot be reached", self.at()).into()));
        }
        self.wait_for(&self.conditions, permit).await?;
        for at in &self.ops {
            let op = &stage.ops[*at];
            self.wait_for(&self.conditions_of(op), permit).await?;
            if let Some(why) = stage.pending.get(&(op.id, self.step.venue)) {
                self.execute(op, *why, permit).await?;
            }
            self.settle_op(*at, &Ok(()));
            *settled += 1;
        }
        Ok(())
    }

    /// Ops that come first: those that it names, those elsewhere that it watches, and those that prepare and were recorded before it.
    fn conditions_of(&self, op: &Recorded) -> Vec<Condition> {
        let (stage, venue) = (self.step.stage, self.step.venue);
        let elsewhere = op.modifiers.on_change.iter().filter(|id| {
            let watched = self.stage().op(**id);
            watched.is_some_and(|watched| pending::is_across(watched, venue))
        });
        let mut found: Vec<Condition> =
            op.modifiers.after.iter().chain(elsewhere).map(|other| Condition::Op(stage, *other)).collect();
        if !op.modifiers.prepare {
            let earlier = self.stage().ops.iter().take_while(|other| other.id != op.id);
            let before = earlier.filter(|other| other.modifiers.prepare && other.venues().contains(&venue));
            found.extend(before.last().map(|other| Condition::OpAt(stage, other.id, venue)));
        }
        found
    }

    async fn wait_for(&self, conditions: &[Condition], permit: &mut Option<Permit>) -> Result<(), Broken> {
        for condition in conditions {
            if !self.schedule.is_settled(*condition) {
                // Whoever waits for others must not keep them from working.
                drop(permit.take());
            }
            let waited = tokio::select! {
                biased;
                waited = self.schedule.wait(*condition, self.step.venue) => waited,
                () = self.engine.job.cancel.stopping() => return Err(self.stopped()),
            };
            waited.map_err(Broken::NotStarted)?;
        }
        Ok(())
    }

    async fn execute(&self, op: &Recorded, why: Why, permit: &mut Option<Permit>) -> Result<(), Broken> {
        if self.is_moot(op, why) {
            lock(&self.step.state).unchanged.insert(op.id);
            self.note_watcher_done(op).await;
            return Ok(());
        }
        self.take_turn(op, permit).await?;
        let batch = self.schedule.batch(self.step.stage, op.id);
        let _batch = match batch {
            Some(batch) => Some(self.or_stopped(batch.acquire()).await?),
            None => None,
        };
        // A control plane never waits behind workers; and what happens once has no node to count.
        let _worker = match self.engine.is_critical(self.step.venue) {
            true => None,
            false => Some(self.or_stopped(self.engine.workers.acquire()).await?),
        };
        if self.engine.must_stop() {
            return Err(self.stopped());
        }
        if let Some(broken) = lock(&self.step.state).broken.clone() {
            return Err(Broken::NotStarted(broken.reason()));
        }
        self.begin();
        self.engine.note_op();
        let outcome = match self.mark_elsewhere(op).await {
            Ok(()) => {
                let prelude = self.prelude(op);
                let work = Work { stage: self.stage(), op, venue: self.step.venue, prelude: &prelude };
                op::execute(&self.engine, work).await
            }
            Err(error) => Err(error),
        };
        match outcome {
            Ok(outcome) => {
                self.note_done(op, outcome);
                self.note_watcher_done(op).await;
                Ok(())
            }
            Err(error) => Err(self.failed(op, error)),
        }
    }

    /// True when an op was planned only because of others, and none of them changed anything after all.
    fn is_moot(&self, op: &Recorded, why: Why) -> bool {
        let stage = self.stage();
        if why != Why::Triggered || !op.modifiers.only_for.is_empty() {
            return false;
        }
        let state = lock(&self.step.state);
        let watched = op
            .modifiers
            .on_change
            .iter()
            .filter(|id| pending::watches(stage, **id, self.step.venue, &stage.pending));
        let mut any = false;
        let quiet = watched.inspect(|_| any = true).all(|id| state.unchanged.contains(id));
        any && quiet
    }

    /// A turn of the disruption budget, kept until the end of the part: what follows the interruption checks that it is over.
    async fn take_turn(&self, op: &Recorded, permit: &mut Option<Permit>) -> Result<(), Broken> {
        let (Some(reason), None) = (&op.modifiers.disruptive, permit.as_ref()) else { return Ok(()) };
        let Some(budget) = self.engine.budget(self.step.venue) else { return Ok(()) };
        if budget.is_busy() {
            let (stage, node) = self.engine.names(self.stage(), self.step.venue);
            let waiting_for = "its turn".to_owned();
            self.engine.job.events.emit(Event::StepWaiting {
                stage,
                node,
                waiting_for,
                reason: reason.clone(),
            });
        }
        let node = self.at();
        let turn = tokio::select! {
            biased;
            () = self.engine.job.cancel.stopping() => return Err(self.stopped()),
            turn = budget.acquire(&node) => turn,
        };
        *permit = Some(turn.map_err(|why| Broken::NotStarted(why.into()))?);
        Ok(())
    }

    async fn or_stopped<T, E>(&self, waiting: impl Future<Output = Result<T, E>>) -> Result<T, Broken> {
        tokio::select! {
            biased;
            () = self.engine.job.cancel.stopping() => Err(self.stopped()),
            got = waiting => got.map_err(|_| self.stopped()),
        }
    }

    fn begin(&self) {
        let first = {
            let mut state = lock(&self.step.state);
            let first = state.started.is_none();
            state.started.get_or_insert_with(Instant::now);
            first
        };
        if first {
            let (stage, node) = self.engine.names(self.stage(), self.step.venue);
            self.engine.job.events.emit(Event::StepStarted { stage, node });
        }
    }

    fn note_done(&self, op: &Recorded, outcome: Outcome) {
        let made = self.entries(|id| id == op.id);
        let mut state = lock(&self.step.state);
        state.made.extend(made);
        if let Action::Node(node_op) = &op.action {
            state.gone.extend(node_op.forgets().cloned());
        }
        if outcome == Outcome::Unchanged {
            state.unchanged.insert(op.id);
        } else {
            state.changed = true;
        }
    }

    fn failed(&self, op: &Recorded, error: OpError) -> Broken {
        let (stage, node) = self.engine.names(self.stage(), self.step.venue);
        if matches!(error.code, "ksp::lease::lost" | "ksp::run::journal") {
            self.engine.stop(error.message.clone());
        }
        let redact = |text: &String| self.engine.job.events.redact(text);
        self.engine.note_failure(StepFailure {
            stage,
            node,
            address: self.engine.node(self.step.venue).map(|node| node.address.to_string()),
            plugin: self.stage().plugin.to_string(),
            op: op.key(),
            summary: redact(&op.summary()),
            command: error.command.as_ref().map(redact),
            code: error.code.to_owned(),
            message: redact(&error.message),
            tail: error.tail.iter().map(redact).collect(),
            hints: error.hints.iter().map(redact).collect(),
        });
        Broken::Failed(format!("`{}` failed{}", self.stage().name, self.on()).into())
    }

    /// Ends the step: ledger and marks in one round trip, then everybody who waits.
    async fn finish(&self) {
        let (changed, broken, started, made, gone, unmark) = {
            let mut state = lock(&self.step.state);
            let (made, gone) = (std::mem::take(&mut state.made), std::mem::take(&mut state.gone));
            let unmark = std::mem::take(&mut state.unmark);
            (state.changed, state.broken.clone(), state.started, made, gone, unmark)
        };
        if self.engine.job.filter.allows(&self.stage().name, self.step.venue) {
            self.settle_node(made, &gone, &unmark).await;
        }
        let how = broken.as_ref().map_or(Ok(()), |broken| Err(broken.reason()));
        self.schedule.settle_step(&self.step, self.engine.is_critical(self.step.venue), &how);
        if matches!(broken, Some(Broken::Failed(_))) && self.schedule.has_failed(self.step.stage) {
            self.engine.lose_patience();
        }
        if self.stage().pending_at(self.step.venue) == 0 {
            return;
        }
        let outcome = match broken {
            Some(Broken::Failed(_)) => Outcome::Failed,
            Some(Broken::NotStarted(_)) => Outcome::NotStarted,
            None if changed => Outcome::Changed,
            None => Outcome::Unchanged,
        };
        let reason = match broken {
            Some(Broken::NotStarted(reason)) => Some(reason.to_string()),
            _ => None,
        };
        let seconds = started.map_or(0.0, |started| started.elapsed().as_secs_f64());
        let (stage, node) = self.engine.names(self.stage(), self.step.venue);
        self.engine.note_step(StepReport {
            stage: stage.clone(),
            node: node.clone(),
            outcome,
            seconds,
            reason,
        });
        self.engine.job.events.emit(Event::StepFinished { stage, node, outcome, seconds });
    }

    fn is_pending(&self, id: OpId) -> bool {
        self.stage().pending.contains_key(&(id, self.step.venue))
    }

    fn settle_op(&self, at: usize, how: &Result<(), Reason>) {
        let critical = self.engine.is_critical(self.step.venue);
        self.schedule.settle_op(self.step.stage, self.stage().ops[at].id, self.step.venue, critical, how);
    }

    fn stopped(&self) -> Broken {
        Broken::NotStarted(self.engine.why_stopped().into())
    }

    fn stage(&self) -> &StagePlan {
        &self.engine.job.plan.stages[self.step.stage]
    }

    fn at(&self) -> String {
        self.engine.node(self.step.venue).map_or_else(|| "the cluster".to_owned(), |node| node.name.clone())
    }

    fn on(&self) -> String {
        self.engine.node(self.step.venue).map(|node| format!(" on {}", node.name)).unwrap_or_default()
    }
}
