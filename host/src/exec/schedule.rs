//! Who waits for whom. Each step is up to two tasks: its `prepare` ops, which need only what earlier stages provide on the same
//! node, and the rest. A task waits for conditions and for nothing else, so that independent steps overlap.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::exec::board::{Reason, Signal, Tally};
use crate::exec::engine::Engine;
use crate::exec::step::{self, Step};
use crate::op::{OpId, Recorded, Venue};
use crate::plan::graph;
use crate::plan::{Plan, StagePlan};
use crate::plugin::metadata::Scope;

/// What a task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// A stage's step at one venue.
    Step(usize, Venue),
    /// A stage at all its venues.
    Stage(usize),
    /// An op at one venue.
    OpAt(usize, OpId, Venue),
    /// An op at all its venues.
    Op(usize, OpId),
}

/// An op that others wait for.
pub struct OpBoard {
    at: BTreeMap<Venue, Signal>,
    all: Tally,
}

/// A stage in progress.
pub struct StageBoard {
    steps: BTreeMap<Venue, Arc<Step>>,
    all: Tally,
    ops: BTreeMap<OpId, OpBoard>,
    batches: BTreeMap<OpId, Semaphore>,
}

/// Everything that is waited for.
pub struct Schedule {
    stages: Vec<StageBoard>,
    slots: BTreeMap<String, Vec<(usize, Scope)>>,
}

/// Runs all tasks to their end.
pub(super) async fn run(engine: &Arc<Engine>) {
    let plan = Arc::clone(&engine.job.plan);
    let schedule = Arc::new(Schedule::new(&plan));
    let mut tasks = JoinSet::new();
    for (at, stage) in plan.stages.iter().enumerate() {
        for (venue, step) in &schedule.stages[at].steps {
            let (early, main): (Vec<usize>, Vec<usize>) = (0..stage.ops.len())
                .filter(|op| stage.ops[*op].venues().contains(venue))
                .partition(|op| stage.ops[*op].modifiers.prepare);
            step.expect(usize::from(!early.is_empty()) + usize::from(!main.is_empty()));
            for (prepare, ops) in
                [(true, early), (false, main)].into_iter().filter(|(_, ops)| !ops.is_empty())
            {
                let part = step::Part {
                    engine: Arc::clone(engine),
                    schedule: Arc::clone(&schedule),
                    step: Arc::clone(step),
                    conditions: schedule.conditions(&plan, at, *venue, prepare),
                    ops,
                };
                tasks.spawn(part.run());
            }
        }
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            engine.stop(format!("a defect of ksp: {error}"));
        }
    }
}

impl Schedule {
    pub(super) fn new(plan: &Plan) -> Self {
        let seen: Vec<graph::Stage<'_>> = plan
            .stages
            .iter()
            .map(|stage| graph::Stage {
                name: &stage.name,
                metadata: &stage.metadata,
                nodes: stage.nodes.as_ref(),
            })
            .collect();
        let scopes = |providers: Vec<graph::Provider<'_>>| {
            providers.iter().map(|provider| (provider.stage, provider.slot.scope)).collect()
        };
        let slots = graph::providers(&seen)
            .into_iter()
            .map(|(slot, providers)| (slot.to_owned(), scopes(providers)))
            .collect();
        let stages = plan.stages.iter().enumerate().map(|(at, stage)| StageBoard::new(at, stage)).collect();
        Self { stages, slots }
    }

    /// What a part of a step needs before its first op.
    fn conditions(&self, plan: &Plan, stage: usize, venue: Venue, prepare: bool) -> Vec<Condition> {
        let mut found = BTreeSet::new();
        self.collect(plan, stage, venue, prepare, &mut found, &mut BTreeSet::new());
        found.into_iter().collect()
    }

    fn collect(
        &self,
        plan: &Plan,
        stage: usize,
        venue: Venue,
        prepare: bool,
        found: &mut BTreeSet<Condition>,
        visited: &mut BTreeSet<usize>,
    ) {
        let metadata = &plan.stages[stage].metadata;
        let slots = metadata.requires.iter().chain(&metadata.wants);
        let providers = slots
            .flat_map(|slot| self.slots.get(slot).into_iter().flatten().map(move |found| (slot, *found)));
        for (slot, (provider, scope)) in providers.filter(|(_, (at, _))| *at != stage) {
            // What happens once for the cluster has no node of its own: a slot of nodes is there when it is on all of them.
            let everywhere = scope == Scope::Cluster || venue == Venue::Cluster;
            if prepare && everywhere {
                continue;
            }
            if everywhere && self.stages[provider].steps.is_empty()
                || !everywhere && !self.stages[provider].steps.contains_key(&venue)
            {
                // The stage has nothing to do here: what it needs itself still comes first.
                if visited.insert(provider) {
                    self.collect(plan, provider, venue, prepare, found, visited);
                }
                continue;
            }
            found.extend(provided(&plan.stages[provider], provider, slot, venue, everywhere));
        }
    }

    /// Waits for a condition on behalf of a venue.
    pub(super) async fn wait(&self, condition: Condition, who: Venue) -> Result<(), Reason> {
        match condition {
            Condition::Step(stage, venue) => match self.stages[stage].steps.get(&venue) {
                Some(step) => step.done.wait().await,
                None => Ok(()),
            },
            Condition::Stage(stage) => self.stages[stage].all.wait(who).await,
            Condition::OpAt(stage, op, venue) => {
                match self.stages[stage].ops.get(&op).and_then(|board| board.at.get(&venue)) {
                    Some(signal) => signal.wait().await,
                    None => Ok(()),
                }
            }
            Condition::Op(stage, op) => match self.stages[stage].ops.get(&op) {
                Some(board) => board.all.wait(who).await,
                None => Ok(()),
            },
        }
    }

    /// True when waiting for it would return at once.
    pub(super) fn is_settled(&self, condition: Condition) -> bool {
        match condition {
            Condition::Step(stage, venue) => {
                self.stages[stage].steps.get(&venue).is_none_or(|step| step.done.is_settled())
            }
            Condition::Stage(stage) => self.stages[stage].all.is_settled(),
            Condition::OpAt(stage, op, venue) => {
                let board = self.stages[stage].ops.get(&op);
                board.and_then(|board| board.at.get(&venue)).is_none_or(Signal::is_settled)
            }
            Condition::Op(stage, op) => {
                self.stages[stage].ops.get(&op).is_none_or(|board| board.all.is_settled())
            }
        }
    }

    /// An op of a step is done, or will not be.
    pub(super) fn settle_op(
        &self,
        stage: usize,
        op: OpId,
        venue: Venue,
        critical: bool,
        how: &Result<(), Reason>,
    ) {
        let Some(board) = self.stages[stage].ops.get(&op) else { return };
        if let Some(signal) = board.at.get(&venue).filter(|signal| !signal.is_settled()) {
            signal.settle(how.clone());
            board.all.settle(venue, critical, how);
        }
    }

    /// A step is done, or will not be.
    pub(super) fn settle_step(&self, step: &Step, critical: bool, how: &Result<(), Reason>) {
        step.done.settle(how.clone());
        self.stages[step.stage].all.settle(step.venue, critical, how);
    }

    /// True when a stage has failed for everybody who needs it.
    pub(super) fn has_failed(&self, stage: usize) -> bool {
        self.stages[stage].all.has_failed()
    }

    /// Bounds the nodes of an op.
    pub(super) fn batch(&self, stage: usize, op: OpId) -> Option<&Semaphore> {
        self.stages[stage].batches.get(&op)
    }
}

/// The op that provides the slot where it matters, or the whole step or stage.
fn provided(stage: &StagePlan, at: usize, slot: &str, venue: Venue, everywhere: bool) -> Vec<Condition> {
    let marked = stage.ops.iter().filter(|op| op.modifiers.provides.iter().any(|own| own == slot));
    let marked: Vec<&Recorded> =
        marked.filter(|op| !op.venues().is_empty() && (everywhere || op.venues().contains(&venue))).collect();
    match (marked.is_empty(), everywhere) {
        (true, true) => vec![Condition::Stage(at)],
        (true, false) => vec![Condition::Step(at, venue)],
        (false, true) => marked.iter().map(|op| Condition::Op(at, op.id)).collect(),
        (false, false) => marked.iter().map(|op| Condition::OpAt(at, op.id, venue)).collect(),
    }
}

impl StageBoard {
    fn new(at: usize, stage: &StagePlan) -> Self {
        let venues = stage.venues();
        let named = |op: &Recorded| [&op.modifiers.after[..], &op.modifiers.on_change].concat();
        let waited_for: BTreeSet<OpId> = stage.ops.iter().flat_map(named).collect();
        let is_waited_for = |op: &&Recorded| {
            op.modifiers.prepare || !op.modifiers.provides.is_empty() || waited_for.contains(&op.id)
        };
        let board = |op: &Recorded| {
            let venues = op.venues();
            let all = Tally::new(venues.len());
            (op.id, OpBoard { all, at: venues.into_iter().map(|venue| (venue, Signal::default())).collect() })
        };
        let batch = |op: &Recorded| op.modifiers.batch.map(|n| (op.id, Semaphore::new(n.max(1) as usize)));
        Self {
            all: Tally::new(venues.len()),
            steps: venues.into_iter().map(|venue| (venue, Arc::new(Step::new(at, venue)))).collect(),
            ops: stage.ops.iter().filter(is_waited_for).map(board).collect(),
            batches: stage.ops.iter().filter_map(batch).collect(),
        }
    }
}
